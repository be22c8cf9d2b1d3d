"""The harness under fire: nothing a candidate does crashes the parent or holds it beyond its limit.

After every attack the same session judges an honest candidate, which must still come out correct.
"""

import time
from collections.abc import Iterator

import pytest
from corpus import HERE, Bench
from fuzzing import ABUSES, CHANNELS, CLASSES, ERRORS, HONEST, OUTPUTS, SLEEPS_WHEN_TIMED, answering, candidate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.evaluation import Evaluation
from everforge.model.session import EvaluationSettings
from everforge.model.task import TaskSpec, Variant
from everforge.model.verdict import Verdict

TASK = TaskSpec(
    name="cumulative-sum",
    source=(HERE / "tasks" / "cumulative_sum.py").read_text(encoding="utf-8"),
    variants=(Variant(name="main", constants={"rows": 8, "columns": 64}),),
    derive_held_out=False,
)
# Short enough that a candidate which sleeps costs little, long enough for an honest one on a busy machine.
LIMIT_S = 5.0
SLACK_S = 2.0
SETTINGS = EvaluationSettings(
    seeds=1, timeout_s=LIMIT_S, min_rounds=3, max_rounds=3, timing_seconds=0.1, memory_bytes=1 << 30, cpu_seconds=20,
    file_bytes=64 << 20, processes=64,
)  # fmt: skip
# Each example is a process; a dozen finds what is wrong with a handler, and a hundred would find it as well.
FUZZ = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def fire() -> Iterator[Bench]:
    """A bench of its own, with limits that are soon reached."""
    with Bench(settings=SETTINGS) as bench:
        bench.session(TASK)
        yield bench


def made(source: str) -> Candidate:
    return Candidate(source=source, language=Language.PYTORCH, generator=GeneratorKind.USER)


def survive(fire: Bench, source: str, *, measured: bool = False) -> Evaluation:
    """Judge a source without the rules' protection, in time; then an honest candidate in the same session."""
    began_s = time.monotonic()
    evaluation = fire.judge(TASK, made(source), rules=False, measured=measured)
    assert time.monotonic() - began_s < LIMIT_S + SLACK_S
    assert evaluation.verdict is not Verdict.INFRA_ERROR, evaluation.reason
    Evaluation.model_validate_json(evaluation.model_dump_json())
    honest = fire.judge(TASK, made(candidate(HONEST)), measured=False)
    assert honest.verdict.is_correct, honest.reason
    return evaluation


def refused(fire: Bench, source: str, *, measured: bool = False) -> None:
    assert not survive(fire, source, measured=measured).verdict.is_correct


def named(cases: dict[str, object]) -> list[object]:
    return [pytest.param(value, id=name) for name, value in cases.items()]


@pytest.mark.parametrize("output", named({**OUTPUTS}))
def test_output_of_any_type_is_a_verdict(fire: Bench, output: str) -> None:
    refused(fire, candidate(f"return {output}"))


@pytest.mark.parametrize("error", named({**ERRORS}))
def test_error_of_any_shape_is_a_verdict(fire: Bench, error: tuple[str, str]) -> None:
    refused(fire, candidate(error[1], before=error[0]))


@pytest.mark.parametrize("source", named({**CLASSES}))
def test_anything_called_model_new_is_a_verdict(fire: Bench, source: str) -> None:
    refused(fire, candidate().partition("class ModelNew")[0] + source)


@pytest.mark.parametrize("source", named({**ABUSES}))
def test_abuse_of_the_machine_is_a_verdict(fire: Bench, source: str) -> None:
    survive(fire, source)


@pytest.mark.parametrize("source", named({**CHANNELS}))
def test_nonsense_on_the_channel_is_a_verdict(fire: Bench, source: str) -> None:
    refused(fire, source, measured=True)


def test_sleep_in_a_timed_call_ends_at_the_limit(fire: Bench) -> None:
    refused(fire, SLEEPS_WHEN_TIMED, measured=True)


@given(text=st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1"))))
@FUZZ
def test_arbitrary_text_is_a_verdict(fire: Bench, text: str) -> None:
    refused(fire, text)


@given(data=st.binary())
@FUZZ
def test_arbitrary_bytes_are_a_verdict_or_no_record(fire: Bench, data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        refused(fire, text)
    except ValidationError:
        assert any("\ud800" <= letter <= "\udfff" for letter in text)


WORDS = st.sampled_from(
    ["x", "self", "torch", "nn", "5", "0", "-1.5", "None", "''", "[]", "x.shape", "x[0]", "float('inf')", "self.dim"]
)
EXPRESSIONS = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format, inner, st.sampled_from(["+", "*", "@", "//", "if x is 5 else", ",", "in"]), inner
        ),
        st.builds("{}.{}()".format, inner, st.sampled_from(["sum", "cumsum", "numpy", "__class__", "__repr__", "t"])),
        st.builds("torch.{}({})".format, st.sampled_from(["cumsum", "zeros", "as_tensor", "empty", "sort"]), inner),
        st.builds("[{} for _ in {}]".format, inner, inner),
        st.builds("{{{}: {}}}".format, inner, inner),
        st.builds("(lambda: {})()".format, inner),
    ),
    max_leaves=12,
)
STATEMENTS = st.one_of(
    st.builds("return {}".format, EXPRESSIONS),
    st.builds("x = {}".format, EXPRESSIONS),
    st.builds("raise {}".format, EXPRESSIONS),
    st.builds("del {}".format, st.sampled_from(["x", "self", "self.dim", "x[0]"])),
    st.builds("x[{}] = {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("assert {}".format, EXPRESSIONS),
)


@given(body=st.lists(STATEMENTS, min_size=1, max_size=6))
@FUZZ
def test_any_python_in_forward_is_a_verdict(fire: Bench, body: list[str]) -> None:
    survive(fire, candidate("\n".join(body)))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)
ANSWERS = st.dictionaries(
    st.sampled_from(["failure", "description", "mutated", "seconds", "times_us", "report", "evidence", "sums"]), JSON
)


@given(answers=st.lists(ANSWERS, min_size=1, max_size=5))
@FUZZ
def test_any_answer_in_place_of_the_workers_is_a_verdict(fire: Bench, answers: list[dict[str, object]]) -> None:
    refused(fire, answering(answers), measured=True)
