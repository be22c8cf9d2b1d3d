"""Hypothesis strategies for the model's records: valid by construction, as wide as the model allows.

Tests of anything that stores, sends or parses records draw from `records(SomeRecord)`. A strategy is derived
from the record's own fields and constraints, so a new field is covered the day it is added; only the rules
that span several fields are written down here.
"""

import datetime
import functools
import types
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from everforge.model.candidate import Candidate
from everforge.model.check import CompileFault, GateReport
from everforge.model.device_pool import Allocation, DeviceClass, DevicePoolSpec, ExtendedResource, Toleration, Vendor
from everforge.model.evaluation import Evaluation, VariantResult
from everforge.model.interval import Interval
from everforge.model.knowledge import Example, KnowledgeEntry, Runs
from everforge.model.kopt_status import KernelOptimizationStatus
from everforge.model.manifest import InputsSpec, KernelOptimizationSpec, LlmSpec, Target, TaskSource, VariantSpec
from everforge.model.runner_claim import ClaimPhase, RunnerClaimStatus
from everforge.model.task import TaskSpec, Variant
from everforge.model.trial import Trial
from everforge.model.verdict import Fault, Verdict

R = TypeVar("R", bound=BaseModel)

# Trees of records get large: a few elements of each collection show what many would.
MAX_ELEMENTS = 3

# Whole seconds, as Kubernetes writes times.
_times = st.datetimes(
    datetime.datetime(1970, 1, 1), datetime.datetime(2100, 1, 1), timezones=st.just(datetime.UTC)
).map(lambda time: time.replace(microsecond=0))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=MAX_ELEMENTS) | st.dictionaries(st.text(), inner, max_size=MAX_ELEMENTS),
    max_leaves=6,
)


def records(record_type: type[R], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[R]:
    """Valid records of a type; `fixed` replaces the strategies of single fields."""
    return _from_fields(record_type, **fixed) if fixed else _any_record(record_type)


@functools.cache
def _any_record(record_type: type[Any]) -> st.SearchStrategy[Any]:
    """One strategy object for each type: hypothesis keeps what it has learnt of a strategy with it."""
    whole = _WHOLE.get(record_type)
    return _from_fields(record_type) if whole is None else whole()


def _from_fields(record_type: type[R], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[R]:
    """Every field drawn on its own: valid where no rule spans several fields."""
    fields = {name: _field(info) for name, info in record_type.model_fields.items() if name not in fixed}
    return st.fixed_dictionaries({**fields, **fixed}).map(lambda drawn: record_type(**drawn))


def _field(info: FieldInfo) -> st.SearchStrategy[Any]:
    return _values(info.annotation, tuple(info.metadata))


def _values(annotation: Any, limits: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of an annotation within its limits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [m.metadata if isinstance(m, FieldInfo) else [m] for m in arguments[1:]]
        return _values(arguments[0], (*limits, *(limit for group in inner for limit in group)))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_values(argument, limits) for argument in arguments))
    if origin in (tuple, list, dict):
        return _collection(origin, arguments, limits)
    return _plain(annotation, limits)


def _collection(origin: type, arguments: tuple[Any, ...], limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Homogeneous tuples, lists and dictionaries: the only collections the model uses."""
    least = max((limit.min_length for limit in limits if isinstance(limit, MinLen)), default=0)
    most = max(least, MAX_ELEMENTS)
    if origin is dict:
        keys, values = map(_values, arguments)
        return st.dictionaries(keys, values, min_size=least, max_size=most)
    elements = st.lists(_values(arguments[0]), min_size=least, max_size=most)
    return elements.map(tuple) if origin is tuple else elements


def _plain(annotation: Any, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Scalars, enums and nested records."""
    scalars: dict[Any, Callable[[tuple[Any, ...]], st.SearchStrategy[Any]]] = {
        str: _text,
        int: _integers,
        float: _floats,
        AwareDatetime: lambda _: _times,
        datetime.date: lambda _: st.dates(),
        bool: lambda _: st.booleans(),
        type(None): lambda _: st.none(),
        Any: lambda _: json_values,
    }
    if annotation in scalars:
        return scalars[annotation](limits)
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    return records(annotation)


def _text(limits: tuple[Any, ...]) -> st.SearchStrategy[str]:
    shortest = max((limit.min_length for limit in limits if isinstance(limit, MinLen)), default=0)
    longest = min((limit.max_length for limit in limits if isinstance(limit, MaxLen)), default=None)
    pattern = next((p for limit in limits if (p := getattr(limit, "pattern", None)) is not None), None)
    if pattern is None:
        return st.text(min_size=shortest, max_size=longest)
    # `$` also matches before a last newline, which the model's regular expressions do not mean.
    matching = st.from_regex(pattern.replace("$", r"\Z"))
    return matching.filter(lambda text: longest is None or len(text) <= longest)


def _bound(limits: tuple[Any, ...], kind: type, attribute: str) -> Any:
    return next((getattr(limit, attribute) for limit in limits if isinstance(limit, kind)), None)


def _integers(limits: tuple[Any, ...]) -> st.SearchStrategy[int]:
    above, below = _bound(limits, Gt, "gt"), _bound(limits, Lt, "lt")
    least = above + 1 if above is not None else _bound(limits, Ge, "ge")
    most = below - 1 if below is not None else _bound(limits, Le, "le")
    return st.integers(min_value=least, max_value=most)


def _floats(limits: tuple[Any, ...]) -> st.SearchStrategy[float]:
    above, below = _bound(limits, Gt, "gt"), _bound(limits, Lt, "lt")
    return st.floats(
        min_value=above if above is not None else _bound(limits, Ge, "ge"),
        max_value=below if below is not None else _bound(limits, Le, "le"),
        exclude_min=above is not None,
        exclude_max=below is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _unique_by(strategy: st.SearchStrategy[Any], name: Callable[[Any], str]) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, min_size=1, max_size=MAX_ELEMENTS, unique_by=name)


def _intervals() -> st.SearchStrategy[Interval]:
    numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3).map(sorted)
    return numbers.map(lambda three: Interval(low=three[0], value=three[1], high=three[2]))


def _shown_variants(variant_type: type[BaseModel]) -> st.SearchStrategy[list[Any]]:
    """Variants with different names, not all of them held out."""
    variants = _unique_by(records(variant_type), lambda variant: variant.name)
    return variants.filter(lambda some: not all(variant.held_out for variant in some))


def _tasks() -> st.SearchStrategy[TaskSpec]:
    return _from_fields(TaskSpec, variants=_shown_variants(Variant).map(tuple))


@st.composite
def _evaluations(draw: st.DrawFn) -> Evaluation:
    """A verdict first, then the parts that go with it."""
    verdict = draw(st.sampled_from(Verdict))
    variant = records(VariantResult, correct=st.just(True)) if verdict.is_correct else records(VariantResult)
    speedups: dict[Verdict, st.SearchStrategy[Interval | None]] = {
        Verdict.FASTER: _intervals(),
        Verdict.SLOWER: _intervals(),
        Verdict.INCONCLUSIVE: st.one_of(st.none(), _intervals()),
    }
    return draw(
        _from_fields(
            Evaluation,
            verdict=st.just(verdict),
            fault=st.sampled_from(Fault) if verdict is Verdict.INFRA_ERROR else st.none(),
            speedup=speedups.get(verdict, st.none()),
            variants=st.lists(variant, max_size=MAX_ELEMENTS).map(tuple),
        )
    )


@st.composite
def _trials(draw: st.DrawFn) -> Trial:
    """The evaluation is of the trial's own candidate."""
    candidate = draw(records(Candidate))
    evaluation: Evaluation = draw(records(Evaluation))
    evaluation = evaluation.model_copy(update={"candidate_digest": candidate.digest})
    return draw(_from_fields(Trial, candidate=st.just(candidate), evaluation=st.just(evaluation)))


@st.composite
def _gate_reports(draw: st.DrawFn) -> GateReport:
    """A fault, or a reason why there was no check, or neither."""
    fault = draw(st.none() | records(CompileFault))
    reasons = st.none() if fault else st.none() | st.text()
    return draw(_from_fields(GateReport, fault=st.just(fault), not_checked=reasons))


@st.composite
def _examples(draw: st.DrawFn) -> Example:
    """What runs has a proof, and only machine code has features."""
    runs = draw(st.sampled_from(Runs))
    proof = st.none() if runs is Runs.NOT else st.text()
    fixed: dict[str, st.SearchStrategy[Any]] = {"runs": st.just(runs), "proof": proof}
    return draw(_from_fields(Example, **fixed, **({} if runs is Runs.COMPILED else {"features": st.just(())})))


@st.composite
def _knowledge_entries(draw: st.DrawFn) -> KnowledgeEntry:
    """A checked entry has an example of what the check flags."""
    example: Example | None = draw(st.none() | records(Example))
    unchecked = example is None or example.before is None
    fixed: dict[str, st.SearchStrategy[Any]] = {"check": st.none()} if unchecked else {}
    return draw(_from_fields(KnowledgeEntry, example=st.just(example), **fixed))


@st.composite
def _task_sources(draw: st.DrawFn) -> TaskSource:
    """Exactly one of the four places a task may come from, and a login only for one behind a server."""
    places = ("inline", "config_map", "git", "oci")
    chosen = draw(st.sampled_from(places))
    fixed: dict[str, st.SearchStrategy[Any]] = {place: st.none() for place in places}
    fixed[chosen] = _field(TaskSource.model_fields[chosen]).filter(lambda value: value is not None)
    if chosen not in ("git", "oci"):
        fixed["secret_name"] = st.none()
    return draw(_from_fields(TaskSource, **fixed))


@st.composite
def _manifest_specs(draw: st.DrawFn) -> KernelOptimizationSpec:
    """Names are unique, and whoever lists the llm generator says which model."""
    generators = draw(st.sampled_from([["builtin"], ["llm"], ["builtin", "llm"]]))
    llm = records(LlmSpec) if "llm" in generators else st.none() | records(LlmSpec)
    return draw(
        _from_fields(
            KernelOptimizationSpec,
            variants=_shown_variants(VariantSpec),
            targets=_unique_by(records(Target), lambda target: target.device_pool),
            generators=st.just(generators),
            llm=llm,
        )
    )


@st.composite
def _allocations(draw: st.DrawFn) -> Allocation:
    """One of the two ways to a device."""
    if draw(st.booleans()):
        return Allocation(extended_resource=draw(records(ExtendedResource)))
    return Allocation(device_class=draw(records(DeviceClass)))


@st.composite
def _tolerations(draw: st.DrawFn) -> Toleration:
    """Exists takes no value, Equal needs a key."""
    drawn: Toleration = draw(_from_fields(Toleration, operator=st.just("Exists"), value=st.none()))
    if drawn.key is None or draw(st.booleans()):
        return drawn
    return drawn.model_copy(update={"operator": "Equal"})


@st.composite
def _pool_specs(draw: st.DrawFn) -> DevicePoolSpec:
    """Accelerators are allocated, processors need not be."""
    vendor = draw(st.sampled_from(Vendor))
    allocation = st.none() | records(Allocation) if vendor is Vendor.CPU else records(Allocation)
    return draw(_from_fields(DevicePoolSpec, vendor=st.just(vendor), allocation=allocation))


@st.composite
def _kopt_statuses(draw: st.DrawFn) -> KernelOptimizationStatus:
    """What has not started has not ended."""
    start = draw(st.none() | _times)
    end = st.none() if start is None else st.none() | _times
    return draw(_from_fields(KernelOptimizationStatus, start_time=st.just(start), completion_time=end))


@st.composite
def _claim_statuses(draw: st.DrawFn) -> RunnerClaimStatus:
    """A Bound claim has all that reaching its runner takes."""
    drawn: RunnerClaimStatus = draw(_from_fields(RunnerClaimStatus, phase=st.just(ClaimPhase.PENDING)))
    known = None not in (drawn.address, drawn.holder, drawn.since)
    phases = [phase for phase in ClaimPhase if known or phase is not ClaimPhase.BOUND]
    return drawn.model_copy(update={"phase": draw(st.sampled_from(phases))})


# Records with a rule that spans several fields.
def _inputs_specs() -> st.SearchStrategy[InputsSpec]:
    """No scale is 0."""
    scales = st.lists(st.sampled_from(["0.01", "0.5", "1", "32", "1000.25"]), max_size=MAX_ELEMENTS)
    return _from_fields(InputsSpec, scales=scales)


_WHOLE: dict[type[BaseModel], Callable[[], st.SearchStrategy[Any]]] = {
    Interval: _intervals,
    TaskSpec: _tasks,
    Evaluation: _evaluations,
    Trial: _trials,
    GateReport: _gate_reports,
    Example: _examples,
    KnowledgeEntry: _knowledge_entries,
    InputsSpec: _inputs_specs,
    TaskSource: _task_sources,
    KernelOptimizationSpec: _manifest_specs,
    Allocation: _allocations,
    Toleration: _tolerations,
    DevicePoolSpec: _pool_specs,
    KernelOptimizationStatus: _kopt_statuses,
    RunnerClaimStatus: _claim_statuses,
}
