"""No hostile candidate is accepted: with everything in force, and with the static rules switched off."""

import pytest
from corpus import Bench, Entry, load

from everforge.model.verdict import Verdict
from everforge.runners.rules.static_rules import check_source, judge_source

ENTRIES = load("hostile")
# Where turns of honest work differ as much as the trick makes them differ, on a busy machine, layers that look at times
# refuse `faster` without convicting (`clock_check.py`). They convict once the machine is calm for a second.
_MORE_TRIES = 3

# Those that the rules let pass are judged by the layers behind them in the first test already.
CAUGHT_BY_RULES = [entry for entry in ENTRIES if check_source(entry.source)]


def cases(entries: list[Entry] | tuple[Entry, ...]) -> list[object]:
    """One case each. They share sessions that take seconds to open, so `--dist loadfile` is kindest to them."""
    return [pytest.param(entry, id=entry.name) for entry in entries]


def test_corpus_is_as_large_and_as_varied_as_it_claims() -> None:
    assert len(ENTRIES) >= 45
    assert len({entry.trick for entry in ENTRIES}) == len(ENTRIES)
    assert all(entry.expect for entry in ENTRIES)
    assert not any(verdict.is_correct for entry in ENTRIES for verdict in (*entry.expect, *entry.behind))


@pytest.mark.parametrize("entry", cases(ENTRIES))
def test_hostile_candidate_gets_the_verdict_it_deserves(bench: Bench, entry: Entry) -> None:
    if bench.device.kind not in entry.devices:
        finding = judge_source(entry.source)
        assert (entry.expect != (Verdict.REJECTED,)) if finding is None else (finding.verdict in entry.expect)
        return
    evaluation = bench.evaluate(entry)
    assert evaluation.verdict in entry.expect, evaluation.reason


@pytest.mark.parametrize("entry", cases(CAUGHT_BY_RULES))
def test_layers_behind_the_rules_hold(bench: Bench, entry: Entry) -> None:
    if bench.device.kind not in entry.devices:
        pytest.skip(f"needs {' or '.join(entry.devices)}; score.py runs it there")
    evaluation = bench.evaluate(entry, rules=False)
    for _ in range(_MORE_TRIES):
        assert evaluation.verdict is not Verdict.FASTER, evaluation.reason
        if not entry.behind or evaluation.verdict in entry.behind:
            return
        evaluation = bench.evaluate(entry, rules=False)
    assert evaluation.verdict in entry.behind, evaluation.reason
