"""Real processes of agent and runners, killed without warning: no finished trial is lost, none is doubled."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from everforge.model.budget import Budget
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState
from everforge.model.device import DeviceKind
from everforge.model.task import TaskSpec
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.store.local import default_tracking_uri, open_store
from everforge.testing.claim_server import ClaimServer, claims_served

TASK = """
import torch
from torch import nn

class Model(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x) * x + torch.relu(x)

def get_inputs():
    return [torch.randn(64, 512)]

def get_init_inputs():
    return []
"""
SPEC = CampaignSpec(
    name="team-a.silu-relu.cpu",
    task=TaskSpec(name="team-a.silu-relu", source=TASK, variants=({"name": "main"},)),  # type: ignore[arg-type]
    device=DeviceKind.CPU,
    budget=Budget(trials=3),
)


@dataclass
class AgentPod:
    """An agent process; its log is read as it comes."""

    process: "subprocess.Popen[str]"
    last_words: Path
    lines: list[str] = field(default_factory=list)

    def await_line(self, beginning: str) -> None:
        """Read its log up to a line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith(beginning):
                return
        pytest.fail(f"no line {beginning!r} in:\n{''.join(self.lines)}")

    def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process.stderr is not None
        self.lines += self.process.stderr
        return self.process.wait(60)


class Cluster:
    """A namespace: claims, runners to serve them with, a tracking server."""

    def __init__(self, directory: Path, server: ClaimServer, stack: ExitStack) -> None:
        self.directory, self.server, self._stack = directory, server, stack
        (directory / "campaign.json").write_text(SPEC.model_dump_json())

    def agent(self, name: str) -> AgentPod:
        """Start an agent's pod, with a volume of its own."""
        last_words = self.directory / f"{name}-last-words"
        options = {
            "--spec": self.directory / "campaign.json",
            "--owner": "silu-relu/1234",
            "--device-pool": "cpu",
            "--claim": name,
            "--requester": name,
            "--tracking-uri": default_tracking_uri(self.directory),
            "--state-dir": self.directory / name,
            "--metrics": "",
            "--last-words": last_words,
            "--lost-after-seconds": "3",
            "--api-server": self.server.url,
        }
        command = [sys.executable, "-m", "everforge.agents", *(str(part) for pair in options.items() for part in pair)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        self._stack.callback(_ended_and_closed, process)
        return AgentPod(process, last_words)

    def trials(self) -> tuple[Trial, ...]:
        store = open_store(self.directory / "reader", default_tracking_uri(self.directory))
        return store.trials(SPEC.campaign_id)


def _ended_and_closed(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


class Runners:
    """Starts a runner for each claim, as the operator does: with the claim's credential, while the agent waits."""

    def __init__(self, start_pod: Callable[..., Any], starter: Executor) -> None:
        self._start_pod, self._starter = start_pod, starter
        self._starting: dict[str, Future[Any]] = {}

    def __call__(self, claim: dict[str, Any]) -> str | None:
        """The address of a claim's runner, None while it starts."""
        credential = claim["spec"]["credentialDigest"]
        if credential not in self._starting:
            started = self._starter.submit(self._start_pod, "--token-digest", credential)
            self._starting[credential] = started
        pod = self._starting[credential]
        return f"http://127.0.0.1:{pod.result().address[1]}" if pod.done() else None

    @property
    def latest(self) -> Any:
        """The runner that was started last."""
        return list(self._starting.values())[-1].result()


@pytest.fixture
def runners(start_pod: Callable[..., Any]) -> Iterator[Runners]:
    with ThreadPoolExecutor(1) as starter:
        yield Runners(start_pod, starter)


@pytest.fixture
def cluster(tmp_path: Path, runners: Runners) -> Iterator[Cluster]:
    with ExitStack() as stack:
        server = stack.enter_context(claims_served(runners))
        yield Cluster(tmp_path, server, stack)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_campaign_survives_the_death_of_its_agent_and_of_its_runner(cluster: Cluster, runners: Runners) -> None:
    first = cluster.agent("agent-1")
    first.await_line("trial 0 search")
    first.process.kill()
    first.process.wait(60)
    second = cluster.agent("agent-2")
    second.await_line("trial 1 search")
    runners.latest.process.kill()
    assert second.ended() == 0, "".join(second.lines)

    record = CampaignRecord.model_validate_json(second.last_words.read_text())
    assert record.state is CampaignState.SUCCEEDED
    trials = cluster.trials()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len({trial.trial_id for trial in trials}) == len(trials)
    searched = [trial for trial in trials if trial.purpose is Purpose.SEARCH and trial.evaluation.verdict.is_final]
    assert len(searched) == len({trial.candidate.digest for trial in searched}) == record.spend.trials
    # What the dead runner was asked is known for the machine's fault, and held against no candidate.
    failed = [trial for trial in trials if trial.evaluation.verdict is Verdict.INFRA_ERROR]
    assert len(failed) <= 2
    # What was said on the way is what the last words say: the second agent counts the first one's trials.
    reports = [claim["spec"]["report"] for claim in cluster.server.claims.values() if claim["spec"].get("report")]
    assert reports[-1]["runId"] == record.run_id
    assert 0 < reports[-1]["trials"]["finished"] <= record.trials
    assert "torch" in reports[-1]["toolchain"]
    released = [
        claim["spec"]["released"] for name, claim in cluster.server.claims.items() if name.startswith("agent-2")
    ]
    assert released == [True] * len(released)
