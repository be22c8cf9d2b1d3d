"""Runners by RunnerClaim: asked for, waited for, rested, released, and asked for again; an API server that is away."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everforge.agents.claims import ClaimedRunner, ClaimedRunners, Wanted
from everforge.agents.cluster_api import ApiRefused, ApiUnreachable, ClusterAccess, ClusterApi
from everforge.errors import HarnessFault, UsageError
from everforge.model.agent_report import AgentReport
from everforge.model.credential import token_digest
from everforge.model.kopt_status import TrialCounts
from everforge.model.runner_claim import ClaimOwner, RunnerClaim
from everforge.testing.claim_server import ClaimServer, claims_served

OWNER = ClaimOwner(name="softmax", uid="1234")
ADDRESS = "http://127.0.0.1:9"


class Turns:
    """Gives an address to a claim when its turn has come."""

    def __init__(self) -> None:
        self.waits = 0

    def __call__(self, _claim: object) -> str | None:
        self.waits -= 1
        return ADDRESS if self.waits < 0 else None


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def server(turns: Turns) -> Iterator[ClaimServer]:
    with claims_served(turns) as server:
        yield server


class Agent:
    """Claims runners, and keeps what it said and how often it waited."""

    def __init__(self, server: ClaimServer, new_token: Callable[[], str] = secrets.token_urlsafe) -> None:
        self.said: list[str] = []
        self.slept_s = 0.0
        self.api = ClusterApi(ClusterAccess(server.url, "team-a"), patience_s=30.0, sleep=self._sleep)
        wanted = Wanted("h200", OWNER, stem="softmax-agent", requester="softmax-agent", priority=7)
        self.start = ClaimedRunners(self.api, wanted, self.said.append, sleep=self._sleep, new_token=new_token)

    def _sleep(self, seconds: float) -> None:
        self.slept_s += seconds


@pytest.fixture
def agent(server: ClaimServer) -> Agent:
    return Agent(server)


def spec_of(server: ClaimServer, name: str) -> dict[str, object]:
    spec: dict[str, object] = server.claims[name]["spec"]
    return spec


def test_claim_says_who_asks_for_what(server: ClaimServer, agent: Agent) -> None:
    agent.start()
    claim = RunnerClaim.model_validate(server.claims["softmax-agent-1"])
    assert (claim.spec.pool, claim.spec.owner, claim.spec.requester) == ("h200", OWNER, "softmax-agent")
    assert claim.spec.priority == 7
    assert claim.metadata.owner_references[0].uid == OWNER.uid
    assert server.requests[0] == "POST /apis/everforge.dev/v1alpha1/namespaces/team-a/runnerclaims"


def test_runner_is_waited_for_and_what_it_waits_for_is_told_once(
    server: ClaimServer, agent: Agent, turns: Turns
) -> None:
    turns.waits = 6
    agent.start()
    assert agent.slept_s > 6 * 0.25
    assert [line for line in agent.said if "1 of 1 runners are held" in line] == [
        "RunnerClaim softmax-agent-1 is Pending: 1 of 1 runners are held"
    ]


def test_claims_of_one_agent_follow_each_other(server: ClaimServer, agent: Agent) -> None:
    agent.start().close()
    agent.start()
    assert sorted(server.claims) == ["softmax-agent-1", "softmax-agent-2"]
    assert spec_of(server, "softmax-agent-1")["released"] is True


def test_claim_whose_creation_was_not_heard_of_is_taken_up(server: ClaimServer, agent: Agent) -> None:
    server.failures = [503]  # said after the claim was made
    agent.start()
    assert list(server.claims) == ["softmax-agent-1"]


def test_claim_with_anothers_credential_is_left_alone(server: ClaimServer, agent: Agent) -> None:
    Agent(server).start()
    agent.start()
    assert sorted(server.claims) == ["softmax-agent-1", "softmax-agent-2"]


def test_each_claim_has_a_credential_of_its_own_and_never_the_token(server: ClaimServer) -> None:
    tokens = iter(["first token", "second token"])
    agent = Agent(server, lambda: next(tokens))
    runners = [agent.start(), agent.start()]
    digests = [spec_of(server, name)["credentialDigest"] for name in ("softmax-agent-1", "softmax-agent-2")]
    assert digests == [token_digest("first token"), token_digest("second token")]
    assert [runner._token for runner in runners] == ["first token", "second token"]
    assert " token" not in json.dumps(server.claims)


def test_api_server_that_is_away_for_a_while_is_asked_again(server: ClaimServer, agent: Agent) -> None:
    server.failures = [503, 429, 401, 403]
    agent.start()
    assert agent.slept_s > 0


@pytest.mark.parametrize("status", [403, 422])
def test_refusal_is_told_in_the_api_servers_words(server: ClaimServer, status: int) -> None:
    api = ClusterApi(ClusterAccess(server.url, "team-a"), patience_s=0.0)
    server.failures = [status]
    with pytest.raises(ApiRefused, match=r"refuses POST /claims: the stand-in fails"):
        api.create("/claims", {"metadata": {"name": "one"}})


def test_api_server_that_stays_away_is_a_machine_fault() -> None:
    api = ClusterApi(ClusterAccess("http://127.0.0.1:9", "team-a"), patience_s=0.0)
    with pytest.raises(ApiUnreachable, match="does not answer GET /x"):
        api.get("/x")


@pytest.mark.parametrize("phase", ["Failed", "Revoked", "Released"])
def test_claim_that_ends_before_it_is_served_is_a_machine_fault(
    server: ClaimServer, agent: Agent, turns: Turns, phase: str
) -> None:
    turns.waits = 1000
    create = agent.api.create

    def created(path: str, body: dict[str, object]) -> bool:
        made = create(path, body)
        server.end("softmax-agent-1", phase, "5 runners failed")
        return made

    agent.api.create = created  # type: ignore[method-assign]
    with pytest.raises(HarnessFault, match="5 runners failed"):
        agent.start()
    assert spec_of(server, "softmax-agent-1")["released"] is True


def test_progress_is_told_by_the_claim_that_is_held_and_by_the_next_one(server: ClaimServer, agent: Agent) -> None:
    agent.start.report(AgentReport(trials=TrialCounts(finished=1)))
    runner = agent.start()
    assert told_by(server, "softmax-agent-1") == 1
    agent.start.report(AgentReport(trials=TrialCounts(finished=2)))
    assert told_by(server, "softmax-agent-1") == 2
    runner.close()
    agent.start()
    assert told_by(server, "softmax-agent-2") == 2


def test_report_that_says_less_takes_back_what_was_said(server: ClaimServer, agent: Agent) -> None:
    agent.start.report(AgentReport(tracking_trouble="no route to host"))
    agent.start()
    agent.start.report(AgentReport(trials=TrialCounts(finished=2)))
    report = RunnerClaim.model_validate(server.claims["softmax-agent-1"]).spec.report
    assert report == AgentReport(trials=TrialCounts(finished=2))


def test_what_an_agent_waits_for_is_told_by_a_claim_that_asks_for_no_runner_yet(
    server: ClaimServer, agent: Agent
) -> None:
    agent.start.report(AgentReport(tracking_trouble="no route to host"))
    claim = RunnerClaim.model_validate(server.claims["softmax-agent-1"])
    assert claim.spec.idle
    assert claim.spec.report == AgentReport(tracking_trouble="no route to host")
    runner = agent.start()
    assert list(server.claims) == ["softmax-agent-1"]
    assert spec_of(server, "softmax-agent-1")["idle"] is False
    assert token_digest(runner._token) == claim.spec.credential_digest


def test_resting_claim_that_is_gone_is_followed_by_one_that_asks(server: ClaimServer, agent: Agent) -> None:
    agent.start.report(AgentReport(tracking_trouble="no route to host"))
    del server.claims["softmax-agent-1"]
    agent.start()
    assert list(server.claims) == ["softmax-agent-2"]


def test_agent_without_trouble_makes_no_claim_to_say_so(server: ClaimServer, agent: Agent) -> None:
    agent.start.report(AgentReport(trials=TrialCounts(finished=1)))
    assert server.claims == {}


def test_trouble_after_the_last_claim_is_cleared_away_is_told_by_another(server: ClaimServer, agent: Agent) -> None:
    agent.start().close()
    del server.claims["softmax-agent-1"]
    agent.start.report(AgentReport(tracking_trouble="no route to host"))
    assert spec_of(server, "softmax-agent-2")["idle"] is True


def test_claim_that_cannot_be_made_to_tell_of_trouble_stops_nothing(server: ClaimServer, agent: Agent) -> None:
    server.failures = [422]
    agent.start.report(AgentReport(tracking_trouble="no route to host"))
    assert any("refuses POST" in line for line in agent.said)


def told_by(server: ClaimServer, name: str) -> int:
    report = RunnerClaim.model_validate(server.claims[name]).spec.report
    assert report is not None
    return report.trials.finished


def test_runner_that_rests_says_so_and_is_there_when_it_is_needed_again(server: ClaimServer, agent: Agent) -> None:
    runner = agent.start()
    runner.rest()
    assert spec_of(server, "softmax-agent-1")["idle"] is True
    assert runner.resume()
    assert spec_of(server, "softmax-agent-1")["idle"] is False


@pytest.mark.parametrize("change", ["revoked", "deleted", "another holder"])
def test_runner_taken_away_while_it_rested_is_noticed(server: ClaimServer, agent: Agent, change: str) -> None:
    runner = agent.start()
    runner.rest()
    if change == "revoked":
        server.end("softmax-agent-1", "Revoked", "the runner idled while others wait")
    elif change == "deleted":
        del server.claims["softmax-agent-1"]
    else:
        server.claims["softmax-agent-1"]["status"]["holder"] = "another"
    assert not runner.resume()
    runner.close()


def test_death_of_a_runner_is_told_with_the_words_of_its_claim(server: ClaimServer, agent: Agent) -> None:
    runner: ClaimedRunner = agent.start()
    server.end("softmax-agent-1", "Failed", "node n1 was drained")
    with pytest.raises(
        HarnessFault, match=r"RunnerClaim softmax-agent-1 is Failed on node unknown: node n1 was drained"
    ):
        runner._ask("GET", "/v1/environment?device=cpu", None, lambda _: None)


def test_pod_knows_its_namespace_and_account_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("team-a\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    access = ClusterAccess.of_pod(environment, tmp_path)
    assert (access.url, access.namespace) == ("https://[fd00::1]:6443", "team-a")
    assert (access.token_file, access.ca_file) == (tmp_path / "token", tmp_path / "ca.crt")


def test_process_outside_a_pod_is_told_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pass --api-server"):
        ClusterAccess.of_pod({})
    with pytest.raises(UsageError, match="no service account's token"):
        ClusterAccess.of_pod({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
