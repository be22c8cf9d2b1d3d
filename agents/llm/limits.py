"""What limits the candidate that is built on: the performance analysis of its trial, for the request and its entries.

`prompt.py` quotes the variant with the most to gain, `knowledge.py` looks for what helps against the limits of all.
"""

from collections.abc import Iterator

from everforge.agents.analysis.analyse import analyse
from everforge.agents.analysis.section import section
from everforge.model.analysis import Analysis
from everforge.model.trial import Trial
from everforge.search.generator import SearchContext


def analyses(context: SearchContext, trial: Trial) -> Iterator[Analysis]:
    """One for each variant that was shown; a campaign takes no profile yet, and each says that it lacks one."""
    policy = context.spec.task.precision.allowed[-1]
    for facts in context.shown_variants():
        yield analyse(None, trial.evaluation, context.facts.peaks, facts, policy)


def limits_section(context: SearchContext, trial: Trial) -> str:
    """The analysis of the variant whose roofline leaves the most; empty where nothing is recommended."""
    helped = [analysis for analysis in analyses(context, trial) if analysis.recommendations]
    return section(max(helped, key=_headroom)) if helped else ""


def _headroom(analysis: Analysis) -> float:
    return 0.0 if analysis.roofline is None else analysis.roofline.headroom
