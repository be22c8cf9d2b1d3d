"""Fakes of the campaign's ports: a clock that stands still, a runner without a device, a scripted generator.

Tests of `search/` and `agents/campaign.py` use them; every one is deterministic, so a campaign run twice
over the same fakes makes the same records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from everforge.errors import HarnessFault
from everforge.model.budget import Spend
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.evaluation import Evaluation
from everforge.model.session import OpenSession, Progress, RunTrial, SessionOpened
from everforge.model.trial import Conversation, Purpose
from everforge.model.verdict import Verdict
from everforge.search.generator import Proposal, SearchContext
from everforge.search.runner_port import OnProgress
from everforge.testing import samples


@dataclass
class FakeClock:
    """A clock that moves only when told."""

    time_s: float = samples.STARTED_AT_S

    def now_s(self) -> float:
        return self.time_s

    def monotonic_s(self) -> float:
        return self.time_s - samples.STARTED_AT_S

    def advance(self, seconds: float) -> None:
        self.time_s += seconds


@dataclass(frozen=True)
class Judgement:
    """What the fake runner measures for one candidate: in the search, and when re-measured."""

    verdict: Verdict = Verdict.FASTER
    speedup: float = 1.5
    confirmed_verdict: Verdict = Verdict.FASTER
    confirmed_speedup: float | None = None


Landscape = Mapping[str, Judgement]


@dataclass
class FakeRunner:
    """A runner that looks candidates up in a landscape of judgements by source text.

    `trial_hook` is called before each trial and may raise: HarnessFault for a runner that dies,
    KeyboardInterrupt for a person at Ctrl-C.
    """

    landscape: Landscape
    clock: FakeClock
    trial_seconds: float = 10.0
    trial_hook: Callable[[RunTrial], None] = lambda _request: None
    open_hook: Callable[[OpenSession], None] = lambda _request: None
    requests: list[RunTrial] = field(default_factory=list)
    sessions: list[OpenSession] = field(default_factory=list)
    closed: int = 0

    def open_session(self, request: OpenSession, on_progress: OnProgress) -> SessionOpened:
        """Accept any task."""
        self.open_hook(request)
        self.sessions.append(request)
        on_progress(Progress(stage="baselines", detail="compile-fp32"))
        facts = samples.task_facts(request.task, request.device).model_copy(update={"device_seconds": 0.0})
        return SessionOpened(session_id=f"session-{len(self.sessions)}", facts=facts)

    def run_trial(self, session_id: str, request: RunTrial, on_progress: OnProgress) -> Evaluation:
        """Look the candidate up. Raises HarnessFault for a session of another runner."""
        if session_id != f"session-{len(self.sessions)}":
            raise HarnessFault(f"no session {session_id}")
        self.trial_hook(request)
        self.requests.append(request)
        on_progress(Progress(stage="verify"))
        self.clock.advance(self.trial_seconds)
        judgement = self.landscape.get(request.candidate.source, Judgement(Verdict.COMPILE_ERROR))
        verdict, speedup = judgement.verdict, judgement.speedup
        if request.fresh:
            verdict = judgement.confirmed_verdict
            speedup = judgement.confirmed_speedup or judgement.speedup
        task = self.sessions[-1].task
        return samples.evaluation(verdict, speedup, request.candidate, task, self.sessions[-1].device)

    def close_session(self, session_id: str) -> None:
        """Nothing to free."""

    def close(self) -> None:
        """Count how often it was closed."""
        self.closed += 1

    def rest(self) -> None:
        """Nothing to say to anybody."""

    def resume(self) -> bool:
        """It is always there."""
        return True


@dataclass(frozen=True)
class ScriptedGenerator:
    """Proposes candidates of a script in order, by how many of its own the finished trials hold.

    An entry is a candidate, None for a reply without code, or an error to raise.
    """

    script: Sequence[Candidate | Exception | None]
    kind: GeneratorKind = GeneratorKind.BUILTIN
    spend: Spend = field(default_factory=Spend)
    conversation: Conversation | None = None

    def propose(self, context: SearchContext) -> Proposal | None:
        """The entry whose turn it is, or None at the end of the script."""
        own = [trial for trial in context.trials if trial.candidate.generator is self.kind]
        position = sum(1 for trial in own if trial.purpose is Purpose.SEARCH)
        if position >= len(self.script):
            return None
        entry = self.script[position]
        if isinstance(entry, Exception):
            raise entry
        return Proposal(candidate=entry, conversation=self.conversation, spend=self.spend)
