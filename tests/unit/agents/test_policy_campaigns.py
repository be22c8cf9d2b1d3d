"""Whole campaigns of a model under each policy: killed before every step, they end with the same candidates."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from everforge.agents.campaign import Campaign, Ports
from everforge.agents.llm.api_key import ApiKeySource
from everforge.agents.llm.generator import LlmGenerator
from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.stop_signal import StopSignal
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignSpec, ModelSettings
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.search_settings import PolicyKind, SearchSettings
from everforge.model.session import RunTrial
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.store.memory import MemoryStore
from everforge.testing import samples
from everforge.testing.chat_server import Answer, ChatRequest, ChatServer
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement

TRIALS = 6
MARKS = ("tl.arange(0, 64)", "tl.atomic_add(y, x)", "tl.num_programs(0)", "tl.program_id(1)")
VERDICTS = (Verdict.FASTER, Verdict.SLOWER, Verdict.INCORRECT, Verdict.FASTER, Verdict.COMPILE_ERROR)


class Killed(BaseException):
    """The process is gone: nothing of the campaign's own code runs after it."""


class AnyKernel(Mapping[str, Judgement]):
    """A landscape of every source there may be, each with a verdict and a speedup of its own."""

    def __getitem__(self, source: str) -> Judgement:
        drawn = _number(source)
        speedup = 1.1 + drawn % 97 / 50
        return Judgement(VERDICTS[drawn % len(VERDICTS)], speedup, confirmed_speedup=speedup)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def reply_to(request: ChatRequest) -> Answer:
    """What a model without chance answers: ideas if it is asked for some, else a kernel; all follows from the ask."""
    asked = _number(request.prompt)
    if "Name ideas for what to try next" in request.prompt:
        return Answer(text="".join(f"Idea: idea {asked + each}\n" for each in range(3)))
    mark = MARKS[asked % len(MARKS)]
    source = f"import triton\n\n\n@triton.jit\ndef k(x, y):\n    {mark}\n\n\nclass ModelNew:\n    number = {asked}\n"
    return Answer(text=f"Strategy: number {asked}\nRewrites: none\n```python\n{source}```\n")


class Sittings:
    """A campaign whose process may be killed before any trial."""

    def __init__(self, directory: Path, server: ChatServer, policy: PolicyKind) -> None:
        self.spec: CampaignSpec = samples.campaign_spec().model_copy(
            update={
                "budget": Budget(trials=TRIALS),
                "generators": (GeneratorKind.LLM,),
                "target_speedup": None,
                "search": SearchSettings(policy=policy, seed=5),
                "model": ModelSettings(model="openai/scripted", api_base=server.api_base),
            }
        )
        self.directory = directory
        self.store = MemoryStore()
        self.clock = FakeClock()

    def sit(self, trials_before_the_kill: int | None = None) -> None:
        left = [trials_before_the_kill]

        def hook(_request: RunTrial) -> None:
            if left[0] == 0:
                raise Killed
            left[0] = None if left[0] is None else left[0] - 1

        assert self.spec.model is not None
        environ = {"EVERFORGE_API_KEY": "sk-test-0123456789abcdef"}
        model = LlmGenerator(self.spec.model, ApiKeySource(), self.clock, self.clock.advance, environ=environ)
        ports = Ports(
            supply=RunnerSupply(lambda: FakeRunner(AnyKernel(), self.clock, trial_hook=hook)),
            open_store=lambda: self.store,
            generators={GeneratorKind.LLM: model},
            clock=self.clock,
            champions_dir=self.directory,
            stop=StopSignal(),
        )
        Campaign(self.spec, ports).run()

    @property
    def trials(self) -> tuple[Trial, ...]:
        return self.store.trials(self.spec.campaign_id)

    @property
    def candidates(self) -> list[tuple[Purpose, Candidate]]:
        return [(trial.purpose, trial.candidate) for trial in self.trials]


@pytest.mark.parametrize("policy", PolicyKind)
def test_campaign_killed_before_every_trial_ends_with_the_same_candidates(policy: PolicyKind, tmp_path: Path) -> None:
    with ChatServer(reply_to) as server:
        whole = Sittings(tmp_path / "whole", server, policy)
        whole.sit()
        broken = Sittings(tmp_path / "broken", server, policy)
        for _ in range(len(whole.trials)):
            with pytest.raises(Killed):
                broken.sit(trials_before_the_kill=0)
            with contextlib.suppress(Killed):  # the last one is the campaign's end
                broken.sit(trials_before_the_kill=1)
    assert [purpose for purpose, _ in whole.candidates].count(Purpose.SEARCH) == TRIALS
    assert broken.candidates == whole.candidates


@pytest.mark.parametrize("policy", PolicyKind)
def test_every_candidate_of_a_campaign_remembers_its_ask(policy: PolicyKind, tmp_path: Path) -> None:
    with ChatServer(reply_to) as server:
        sittings = Sittings(tmp_path, server, policy)
        sittings.sit()
    lineages = [trial.candidate.lineage for trial in sittings.trials if trial.purpose is Purpose.SEARCH]
    assert [lineage.number for lineage in lineages if lineage is not None] == list(range(TRIALS))
    assert {lineage.policy for lineage in lineages if lineage is not None} == {policy}
