"""Verdicts, the exit codes that say them, and which parts an evaluation has under each."""

from typing import Any

import pytest
from pydantic import ValidationError

from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.evaluation import Evaluation, StageSeconds, VariantResult
from everforge.model.interval import Interval
from everforge.model.verdict import ExitCode, Fault, Verdict, exit_code_of

EXIT_CODES = {
    (Verdict.FASTER, None): 0,
    (Verdict.SLOWER, None): 0,
    (Verdict.INCONCLUSIVE, None): 0,
    (Verdict.COMPILE_ERROR, None): 10,
    (Verdict.INCORRECT, None): 11,
    (Verdict.TIMEOUT, None): 12,
    (Verdict.CRASH, None): 13,
    (Verdict.REJECTED, None): 14,
    (Verdict.TAMPERED, None): 14,
    (Verdict.INFRA_ERROR, Fault.DEVICE): 20,
    (Verdict.INFRA_ERROR, Fault.HARNESS): 21,
}
CORRECT = {Verdict.FASTER, Verdict.SLOWER, Verdict.INCONCLUSIVE}
SPEEDUP = Interval(value=2.0, low=1.9, high=2.1)


def parts(verdict: Verdict, **changed: Any) -> dict[str, Any]:
    """The least an evaluation of this verdict is made of."""
    environment = {
        "device": "cpu",
        "device_name": "a CPU",
        "architecture": "x86_64",
        "toolchain": {},
        "host": "here",
        "system": "Linux",
        "cores": 2,
    }
    return {
        "verdict": verdict,
        "reason": "because",
        "fault": Fault.DEVICE if verdict is Verdict.INFRA_ERROR else None,
        "speedup": SPEEDUP if verdict in (Verdict.FASTER, Verdict.SLOWER) else None,
        "environment": environment,
        "task_digest": "sha256:0",
        "candidate_digest": "sha256:1",
        **changed,
    }


@pytest.mark.parametrize(("verdict", "fault"), EXIT_CODES, ids=lambda part: str(part))
def test_exit_code_of_verdict_is_what_the_command_promises(verdict: Verdict, fault: Fault | None) -> None:
    assert exit_code_of(verdict, fault) == EXIT_CODES[verdict, fault]


def test_every_verdict_and_every_exit_code_of_a_judgement_is_in_the_table() -> None:
    assert {verdict for verdict, _ in EXIT_CODES} == set(Verdict)
    of_pods = {ExitCode.STORE_UNREACHABLE, ExitCode.INTERRUPTED, ExitCode.TERMINATED}
    assert set(EXIT_CODES.values()) == set(ExitCode) - {ExitCode.USAGE} - of_pods


@pytest.mark.parametrize("verdict", Verdict)
def test_first_three_verdicts_are_correct_and_a_broken_machine_judges_nobody(verdict: Verdict) -> None:
    assert verdict.is_correct == (verdict in CORRECT)
    assert verdict.is_final == (verdict is not Verdict.INFRA_ERROR)


@pytest.mark.parametrize("verdict", Verdict)
def test_evaluation_with_the_parts_of_its_verdict_is_accepted(verdict: Verdict) -> None:
    assert Evaluation(**parts(verdict)).verdict is verdict


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.INFRA_ERROR}))
def test_judged_candidate_carries_no_fault(verdict: Verdict) -> None:
    with pytest.raises(ValidationError, match="fault is set exactly for infra_error"):
        Evaluation(**parts(verdict, fault=Fault.HARNESS))


def test_broken_machine_needs_a_fault() -> None:
    with pytest.raises(ValidationError, match="fault is set exactly for infra_error"):
        Evaluation(**parts(Verdict.INFRA_ERROR, fault=None))


@pytest.mark.parametrize("verdict", [Verdict.FASTER, Verdict.SLOWER])
def test_timed_verdict_needs_a_speedup(verdict: Verdict) -> None:
    with pytest.raises(ValidationError, match=f"{verdict} needs a speedup"):
        Evaluation(**parts(verdict, speedup=None))


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - CORRECT))
def test_kernel_that_is_not_correct_must_not_carry_a_speedup(verdict: Verdict) -> None:
    with pytest.raises(ValidationError, match="must not carry a speedup"):
        Evaluation(**parts(verdict, speedup=SPEEDUP))


@pytest.mark.parametrize("verdict", sorted(CORRECT))
def test_correct_verdict_needs_every_variant_correct(verdict: Verdict) -> None:
    wrong = VariantResult(name="decode", held_out=False, correct=False)
    with pytest.raises(ValidationError, match="needs every variant correct"):
        Evaluation(**parts(verdict, variants=(wrong,)))


def test_wall_time_of_a_trial_is_the_sum_of_its_stages() -> None:
    assert StageSeconds(compile=1.0, verify=2.0, time=4.0, overhead=8.0).total == 15.0


def test_candidates_are_the_same_when_their_source_is() -> None:
    mine = Candidate(source="x = 1", language=Language.PYTORCH, generator=GeneratorKind.USER)
    theirs = mine.model_copy(update={"generator": GeneratorKind.LLM, "strategy": "another way"})
    other = mine.model_copy(update={"source": "x = 2"})
    assert mine.digest == theirs.digest != other.digest
