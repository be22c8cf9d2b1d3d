"""`everforge knowledge`: what the package knows, found and shown without a network."""

import json
from pathlib import Path

import pytest

from everforge.cli.app import main
from everforge.cli.knowledge_report import summary
from everforge.model.device import DeviceKind
from everforge.model.knowledge import KnowledgeEntry
from everforge.model.trial import Conversation
from everforge.model.verdict import ExitCode
from everforge.search.knowledge_base import knowledge
from everforge.search.knowledge_worth import FEWEST, EntryWorth
from everforge.store.offline import OfflineStore
from everforge.store.outbox import OutboxStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that ends well prints."""
    with pytest.raises(SystemExit) as ended:
        main(["knowledge", *arguments])
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


def entries_of(text: str) -> list[KnowledgeEntry]:
    return [KnowledgeEntry.model_validate_json(line) for line in text.splitlines()]


def keep_trials(state_dir: Path, shown: int) -> None:
    """A campaign whose first trials were shown an entry and twice as fast as the others."""
    spec = samples.campaign_spec()
    store = OutboxStore(OfflineStore(), state_dir / "outbox" / "default", FakeClock())
    store.open_campaign(spec)
    for number in range(2 * shown):
        saw = number < shown
        plain = samples.trial(number, speedup=2.0 if saw else 1.0, proposed=samples.candidate(str(number)))
        said = Conversation(
            model="m", prompt="", reply="", prompt_tokens=1, completion_tokens=1, dollars=None, seconds=1.0,
            knowledge=("softmax-online",) if saw else (),
        )  # fmt: skip
        store.record_trial(plain.model_copy(update={"campaign_id": spec.campaign_id, "conversation": said}))
    store.record_campaign(samples.campaign_record(spec))


def test_list_prints_every_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert entries_of(run(capsys, "list", "--json")) == list(knowledge())


def test_list_holds_only_what_applies(capsys: pytest.CaptureFixture[str]) -> None:
    found = entries_of(run(capsys, "list", "--device", "xpu", "--op", "matmul", "--language", "triton", "--json"))
    assert any(entry.id == "xe2-grf-mode" for entry in found)
    for entry in found:
        scope = entry.applies_to
        assert not scope.devices or DeviceKind.XPU in scope.devices
        assert not scope.op_classes or "matmul" in scope.op_classes
        assert not scope.languages or "triton" in scope.languages


def test_table_names_id_what_and_where(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = run(capsys, "list", "--op", "scan")
    assert "scan-with-a-carry" in out
    assert "triton; scan; against bandwidth" in out


def test_show_prints_reason_source_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "show", "variance-never-by-difference-of-squares")
    for part in ("why", "doi.org", "1983-08-01", "by merging moments of blocks", "instead of", "centred * centred"):
        assert part in out


def test_unknown_id_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["knowledge", "show", "softmax-onlin"])
    assert ended.value.code == ExitCode.USAGE
    assert "did you mean softmax-online" in capsys.readouterr().err


def test_search_prints_the_best_first_and_no_more_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = entries_of(run(capsys, "search", "arange must be a power of 2", "--limit", "3", "--json"))
    assert found[0].id == "triton-arange-powers-of-two"
    assert len(found) == 3


def test_search_in_vain_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no entry applies" in run(capsys, "search", "xylophone")
    assert run(capsys, "search", "xylophone", "--json") == ""


def test_stats_compare_trials_that_saw_an_entry(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keep_trials(tmp_path, FEWEST)
    (found,) = [
        EntryWorth.model_validate_json(line)
        for line in run(capsys, "stats", "--state-dir", str(tmp_path), "--json").splitlines()
    ]
    assert (found.id, found.shown, found.compared_with) == ("softmax-online", FEWEST, FEWEST)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(2.0)


def test_stats_say_too_few_instead_of_a_figure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    keep_trials(tmp_path, FEWEST - 1)
    out = run(capsys, "stats", "--state-dir", str(tmp_path))
    assert f"too few: {FEWEST - 1} against {FEWEST - 1}" in out
    assert "not what caused it" in out


def test_stats_of_nothing_say_how_to_get_some(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "everforge run" in run(capsys, "stats", "--state-dir", str(tmp_path))
    assert run(capsys, "stats", "--state-dir", str(tmp_path), "--json") == ""


def test_stats_of_all_count_every_entry(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = run(capsys, "stats", "--state-dir", str(tmp_path), "--all", "--json").splitlines()
    assert {json.loads(line)["id"] for line in lines} == {entry.id for entry in knowledge()}


def test_summary_is_the_first_sentence_and_short() -> None:
    assert summary("Do this. And that.") == summary("Do this.") == "Do this"
    assert len(summary("word " * 100)) <= 150
