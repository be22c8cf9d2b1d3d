"""`everforge profile show`: every figure of an export in tables or JSON, and the analysis where a trial is given."""

import json
from pathlib import Path

import pytest

from everforge.cli.app import main
from everforge.model.analysis import Limiter
from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import Profile
from everforge.model.verdict import ExitCode
from everforge.testing import samples

EXPORTS = Path(__file__).parents[1] / "runners" / "profiles"
RAW = str(EXPORTS / "nsight_raw.csv")


def ran(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["profile", "show", *arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def trial(tmp_path: Path) -> tuple[str, ...]:
    """The options that name a trial on a GPU and the facts of its task."""
    evaluation, facts = tmp_path / "evaluation.json", tmp_path / "facts.json"
    evaluation.write_text(samples.evaluation(device=DeviceKind.CUDA).model_dump_json())
    facts.write_text(samples.task_facts(device=DeviceKind.CUDA).model_dump_json())
    return "--evaluation", str(evaluation), "--facts", str(facts)


def test_table_has_the_figures_of_each_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(RAW) == 0
    page = capsys.readouterr().out
    for part in (
        "nsight-compute  cuda, 2 kernels",
        "softmax_rows",
        "24.9 us",
        "36%",
        "32.8 kB",
        "463 GFLOP/s",
        "61% of 75%",
    ):
        assert part in page
    assert "softmax_rows waits: long_scoreboard 60%, barrier 12%" in page
    assert "spilled" not in page.split("note:")[0]  # no kernel has that figure
    assert "limited by" not in page


@pytest.mark.parametrize("name", [path.name for path in sorted(EXPORTS.iterdir())])
def test_tables_fit_a_terminal_of_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ran(str(EXPORTS / name)) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(("note:", "device idle"))]
    assert max(len(row) for row in rows) <= 80
    assert not any("…" in row for row in rows if row.startswith("  kernel "))


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = {"traceEvents": [{"ph": "X", "cat": "kernel", "name": "k[bold]\x1b[31m", "ts": 0, "dur": 1}]}
    (tmp_path / "trace.json").write_text(json.dumps(trace))
    assert ran(str(tmp_path / "trace.json")) == 0
    output = capsys.readouterr().out
    assert "k[bold] " in output
    assert "\x1b" not in output


def test_json_is_one_object_with_the_record_and_the_analysis(
    trial: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(RAW, "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["analysis"] is None
    assert Profile.model_validate(plain["profile"]).kernels[1].name == "softmax_rows"
    assert ran(RAW, "--json", *trial) == 0
    assert json.loads(capsys.readouterr().out)["analysis"]["variant"] == "prefill"


def test_trial_adds_what_limits_it_and_what_is_missing(
    trial: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(RAW, *trial) == 0
    page = capsys.readouterr().out
    assert f"variant prefill is limited by {Limiter.MEMORY_BANDWIDTH}" in page
    assert "of the roofline" in page
    assert "missing: spilled bytes of a thread" in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("absent.csv",), "absent.csv: No such file"),
        ((RAW, "--tool", "vtune"), "no header `Computing Task`"),
        ((RAW, "--tool", "triton"), "triton writes no exports"),
        ((RAW, "--evaluation", RAW), "--evaluation without --facts"),
        ((RAW, "--evaluation", RAW, "--facts", RAW), "not the JSON of Evaluation"),
    ],
)
def test_bad_usage_ends_with_code_2_and_one_message(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(*arguments) == ExitCode.USAGE
    output = capsys.readouterr()
    assert told in output.err
    assert output.out == ""


def test_trial_of_another_device_task_or_variant_is_refused(
    trial: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(str(EXPORTS / "vtune_hotspots.tsv"), *trial) == ExitCode.USAGE
    assert "the profile is of xpu, the trial of cuda" in capsys.readouterr().err
    assert ran(RAW, *trial, "--variant", "decode") == ExitCode.USAGE
    assert "held-out ones are not analysed" in capsys.readouterr().err
    other = samples.task_facts(samples.task_spec("other"), DeviceKind.CUDA).model_copy(
        update={"task_digest": "sha256:0"}
    )
    (tmp_path / "other.json").write_text(other.model_dump_json())
    assert ran(RAW, *trial[:2], "--facts", str(tmp_path / "other.json")) == ExitCode.USAGE
    assert "of different tasks" in capsys.readouterr().err
