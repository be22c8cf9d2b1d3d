"""`everforge trials`: the tree of what `everforge run` kept, with or without a tracking server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from everforge.cli.app import main
from everforge.cli.trial_tree import parents_of
from everforge.errors import StoreUnavailable
from everforge.model.campaign import CampaignState
from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.device import DeviceKind
from everforge.model.lineage import Aim, Lineage
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.store.base import Store
from everforge.store.kept_campaigns import kept_campaigns
from everforge.store.memory import MemoryStore
from everforge.store.offline import OfflineStore
from everforge.store.outbox import OutboxStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock

SPEC = samples.campaign_spec()


def written(source: str, parent: Trial | None, idea: str | None = None, aim: Aim = Aim.OPTIMISE) -> Candidate:
    lineage = Lineage(
        policy=PolicyKind.TREE, aim=aim, number=1, reason="idea 0.1 has no working code", idea=idea, strategy="0.1"
    )
    return Candidate(
        source=source,
        language=Language.TRITON,
        generator=GeneratorKind.LLM,
        strategy="split the rows",
        parent=None if parent is None else parent.trial_id,
        lineage=lineage,
    )


SEED = samples.trial(0, speedup=1.2)
CHILD = samples.trial(1, speedup=1.9, proposed=written("child", SEED, "split the reduction"))
BROKEN = samples.trial(2, verdict=Verdict.COMPILE_ERROR, proposed=written("broken", CHILD))
AGAIN = samples.trial(3, speedup=1.8, purpose=Purpose.CHAMPION, proposed=CHILD.candidate)
TRIALS = (SEED, CHILD, BROKEN, AGAIN)


def keep(
    state_dir: Path, behind: Store, trials: tuple[Trial, ...] = TRIALS, device: DeviceKind = DeviceKind.CPU
) -> None:
    """A campaign as `everforge run` leaves it in its state directory."""
    spec = samples.campaign_spec(device=device)
    store = OutboxStore(behind, state_dir / "outbox" / "default", FakeClock())
    store.open_campaign(spec)
    for trial in trials:
        store.record_trial(trial.model_copy(update={"campaign_id": spec.campaign_id}))
    best = samples.champion(AGAIN) if trials else None
    store.record_campaign(samples.campaign_record(spec, CampaignState.SUCCEEDED, trials, best))


@pytest.fixture(params=[MemoryStore, OfflineStore], ids=["server", "offline"])
def state_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    behind: Callable[[], Store] = request.param
    keep(tmp_path, behind())
    return tmp_path


def test_tree_shows_parents_strategies_reasons_verdicts_and_speedups(
    state_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit, match="0"):
        main(["trials", SPEC.name, "--state-dir", str(state_dir)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("softmax-lse on cpu: 4 trials, succeeded")
    indents = {number: next(i for i, line in enumerate(lines) if f"── {number} " in line) for number in range(4)}
    depths = [lines[indents[number]].index("──") for number in range(4)]
    assert depths[0] < depths[1] < depths[2] == depths[3]
    text = "\n".join(lines)
    for expected in (
        "1.20x [1.16, 1.24]",
        "1 faster  1.90x [1.84, 1.96]  llm: split the rows",
        'optimise [0.1] "split the reduction", because idea 0.1 has no working code',
        "2 compile_error  the candidate ended as compile_error",
        "re-measured  champion",
    ):
        assert expected in text


def test_json_is_one_object_a_campaign(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(state_dir, MemoryStore(), (), DeviceKind.CUDA)
    with pytest.raises(SystemExit, match="0"):
        main(["trials", SPEC.name, "--state-dir", str(state_dir), "--json"])
    cpu, cuda = map(json.loads, capsys.readouterr().out.splitlines())
    assert (cuda["record"]["device"], cuda["trials"]) == ("cuda", [])
    assert [row["parent"] for row in cpu["trials"]] == [None, SEED.trial_id, CHILD.trial_id, CHILD.trial_id]
    assert cpu["trials"][1]["lineage"]["idea"] == "split the reduction"
    assert cpu["trials"][2]["speedup"] is None


def test_campaign_of_one_device_can_be_chosen(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(state_dir, MemoryStore(), (), DeviceKind.CUDA)
    with pytest.raises(SystemExit, match="0"):
        main(["trials", SPEC.name, "--state-dir", str(state_dir), "--device", "cuda"])
    said = capsys.readouterr().out
    assert "on cuda" in said
    assert "on cpu" not in said
    assert "no trial was recorded yet" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["other"], "keeps no campaign named other; there are: softmax-lse"),
        (["softmax-lse", "--device", "xpu"], "campaign softmax-lse was not run on xpu, only on cpu"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    state_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["trials", *arguments, "--state-dir", str(state_dir)])
    assert said in capsys.readouterr().err


def test_directory_without_campaigns_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["trials", "softmax", "--state-dir", str(tmp_path / "none")])
    assert "run `everforge run MANIFEST` first" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_campaign_that_another_process_writes_can_be_read(tmp_path: Path) -> None:
    store = OutboxStore(OfflineStore(), tmp_path / "outbox" / "default", FakeClock())
    with pytest.raises(StoreUnavailable):
        store.behind.trials("any")
    store.open_campaign(SPEC)
    store.record_campaign(samples.campaign_record(SPEC))
    store.record_trial(SEED)
    (kept,) = kept_campaigns(tmp_path)
    assert (kept.record.state, kept.trials) == (CampaignState.RUNNING, (SEED,))


def test_file_of_another_version_hides_nothing_else(state_dir: Path) -> None:
    for path in (state_dir / "outbox" / "default").glob("*/"):
        folder = path if path.name == "pending" else path / "campaign-x"
        folder.mkdir(exist_ok=True)
        (folder / "000000000099-trial.json").write_text('{"campaign_id": "x", "quantum": true}')
    (kept,) = kept_campaigns(state_dir)
    assert [trial.number for trial in kept.trials] == [0, 1, 2, 3]


def test_parent_that_was_not_recorded_before_is_no_parent() -> None:
    orphan = samples.trial(0, proposed=samples.candidate("orphan", parent="gone"))
    itself = samples.trial(1, proposed=samples.candidate("itself"))
    assert parents_of((orphan, itself)) == {orphan.trial_id: None, itself.trial_id: None}
