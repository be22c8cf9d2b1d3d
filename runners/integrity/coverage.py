"""Launch coverage: a candidate that claims a kernel must launch one of its own, and its results must matter.

The worker makes a report for each variant inside the candidate's process; the parent reads the reports with
`judge_coverage`, which believes nothing of their form. The candidate could forge one, so a report can only speak
against it: what is right and what is fast is measured elsewhere.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from everforge.model.base import Record
from everforge.model.candidate import Language
from everforge.runners.devices.base import Device
from everforge.runners.integrity.decoys import contributes
from everforge.runners.integrity.kernel_share import names_on_host, share_of_time
from everforge.runners.integrity.launches import Launch, intercepted
from everforge.runners.integrity.own_kernels import find_own_kernels

Call = Callable[[], object]

# Above what any candidate seen defines, and small beside the limit of a message.
_MOST_NAMES = 256
_NAME_CHARACTERS = 200
_MOST_LAUNCHES = 10**12


class CoverageReport(Record):
    """What a worker says of a candidate's own kernels on one variant."""

    model_config = ConfigDict(strict=True)

    claimed: str
    own: list[Annotated[str, StringConstraints(max_length=_NAME_CHARACTERS)]] = Field(max_length=_MOST_NAMES)
    launches: dict[
        Annotated[str, StringConstraints(max_length=_NAME_CHARACTERS)], Annotated[int, Field(ge=0, le=_MOST_LAUNCHES)]
    ] = Field(max_length=_MOST_NAMES)
    contributes: bool | None
    share: float | None = Field(ge=0, le=1)


def count_launches(call: Call) -> dict[str, int]:
    """Launches of own kernels while `call` runs, by name; an autotuner's trials are part of one launch."""
    with counted() as counts:
        call()
    return dict(counts) or _operators_run(call)


def _operators_run(call: Call) -> dict[str, int]:
    """Own operators that ran without Python, as a scripted module runs them: the profiler knows them by name."""
    own = set(find_own_kernels().operators)
    return dict(Counter(name for name in names_on_host(call) if name in own)) if own else {}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count own launches inside, also a constructor's: what it captures in a graph is seen there and not later."""
    counts: Counter[str] = Counter()

    def count(launch: Launch) -> Any:
        counts[launch.kernel] += 1
        return launch.run()

    with intercepted(count):
        yield counts


def coverage_report(
    language: Language,
    call: Call,
    device: Device,
    *,
    earlier: Mapping[str, int],
    other: Call | None = None,
    anew: Call | None = None,
) -> dict[str, Any]:
    """The report of one variant, as plain JSON; called last of all that is done with a built module.

    `call` clones inputs, runs the module and returns its outputs; `other` does so with other inputs; `anew` builds
    the module once more and then does as `call`, for what only a constructor launches. `earlier` has the launches
    from construction on (`counted`). The module keeps absurd numbers: it must not be used afterwards.
    """
    if language is Language.PYTORCH:
        return _report(language, [], {}, None, None)
    launched = count_launches(call)
    share = share_of_time(call, device)
    matters = contributes(call, other)
    if not launched and earlier and matters is None and anew is not None:
        matters = contributes(anew)
    return _report(language, find_own_kernels().names, Counter(earlier) + Counter(launched), matters, share)


def _report(
    language: Language, own: list[str], launches: Mapping[str, int], matters: bool | None, share: float | None
) -> dict[str, Any]:
    shown = {name[:_NAME_CHARACTERS]: count for name, count in list(launches.items())[:_MOST_NAMES]}
    names = [name[:_NAME_CHARACTERS] for name in own[:_MOST_NAMES]]
    return {"claimed": language.value, "own": names, "launches": shown, "contributes": matters, "share": share}


def judge_coverage(language: Language, reports: Sequence[Any]) -> tuple[str | None, float | None]:
    """Evidence against a claim, if there is some, and the mean share of device time in own kernels.

    `reports` are those of all shown variants, as a hostile process sent them: one that is not a report is evidence
    itself. A kernel may serve one variant alone, so only what holds for all of them counts.
    """
    if language is Language.PYTORCH or not reports:
        return None, None
    try:
        valid = [CoverageReport.model_validate(report) for report in reports]
    except (ValidationError, RecursionError) as error:
        return f"its report on the kernels it launched is malformed: {_first_line(error)}", None
    if any(report.claimed != language.value for report in valid):
        return f"its report on the kernels it launched does not speak of its claim, {language.value}", None
    shares = [report.share for report in valid if report.share is not None]
    return _evidence(language, valid), fmean(shares) if shares else None


def _evidence(language: Language, reports: Sequence[CoverageReport]) -> str | None:
    launching = [report for report in reports if any(report.launches.values())]
    if not launching:
        return f"claims {language.value} but launched no kernel of its own"
    if all(report.contributes is False for report in launching):
        return "its own kernels' results do not reach the output"
    return None


def _first_line(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return type(error).__name__
    first = error.errors(include_input=False, include_url=False)[0]
    # Names in it are the hostile process's own: few of them, and short.
    return f"{'.'.join(str(part) for part in first['loc'][:3])[:80]}: {first['msg'][:120]}"
