"""What a KernelOptimization and its pool show while a campaign runs: the agent's report, copied and never summed up.

And what they show of an agent that cannot go on.
"""

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., dict[str, Any]]
KOPT, POOL, CLAIM = "KernelOptimization", "DevicePool", "RunnerClaim"


def report(finished: int, **fields: Any) -> dict[str, Any]:
    return {"trials": {"finished": finished, "correct": 1}, "spend": {"trials": finished, "seconds": 60}, **fields}


@pytest.fixture
def running(world: Any, make: Make) -> Any:
    """A world in which an agent is at work on the runner of a claim."""
    world.cluster.put(POOL, make("dpool"))
    owner = world.cluster.put(KOPT, make("kopt"))
    world.rest()
    for pod in world.pods("agent"):
        world.cluster.run(pod)
    world.owner = owner
    world.claim("one", owner)
    world.rest()
    return world


def reports(world: Any, name: str, said: dict[str, Any]) -> None:
    (claim,) = [claim for claim in world.cluster.of_kind(CLAIM) if claim["metadata"]["name"] == name]
    claim["spec"]["report"] = said
    world.rest()


def row(world: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.of_kind(KOPT)[0]["status"]["targets"][0]
    return found


def test_counts_and_spend_of_a_running_campaign_are_in_its_row_and_in_the_sum(running: Any) -> None:
    reports(running, "one", report(7, runId="run", experimentId="3"))
    status = running.cluster.of_kind(KOPT)[0]["status"]
    assert row(running)["trials"]["finished"] == status["trials"]["finished"] == 7
    assert row(running)["spend"]["seconds"] == status["spend"]["seconds"] == 60
    assert (row(running)["runId"], status["experimentId"]) == ("run", "3")
    assert row(running)["state"] == "Running"


def test_report_says_nothing_of_the_end(running: Any) -> None:
    reports(running, "one", report(10_000))
    assert running.condition(KOPT, "Succeeded") == ("Unknown", "NotFinished")
    assert running.condition(KOPT, "Improved")[0] == "Unknown"


def test_reports_make_no_events(running: Any) -> None:
    before = len(running.cluster.of_kind("Event"))
    for finished in range(1, 6):
        reports(running, "one", report(finished))
    assert len(running.cluster.of_kind("Event")) == before


def test_newest_claim_that_says_something_counts(running: Any) -> None:
    reports(running, "one", report(7))
    running.clock.time_s += 60
    running.claim("two", running.owner)
    running.rest()
    assert row(running)["trials"]["finished"] == 7
    reports(running, "two", report(5))
    assert row(running)["trials"]["finished"] == 5


def test_counts_stay_when_the_claim_is_gone(running: Any) -> None:
    reports(running, "one", report(7))
    running.cluster.remove(CLAIM, "one", "team-a")
    running.rest()
    assert row(running)["trials"]["finished"] == 7


def test_claim_of_another_optimization_or_another_life_of_it_counts_for_nothing(running: Any, make: Make) -> None:
    other = running.cluster.put(KOPT, make("kopt", "other"))
    running.claim("two", other)
    reports(running, "two", report(7))
    finished = {o["metadata"]["name"]: o["status"]["trials"]["finished"] for o in running.cluster.of_kind(KOPT)}
    assert finished == {"softmax": 0, "other": 7}


def test_last_words_overrule_every_report(running: Any, told: Callable[..., str]) -> None:
    reports(running, "one", report(7))
    running.cluster.finish(running.pods("agent")[0], 0, told())
    running.rest()
    assert row(running)["trials"]["finished"] == 0
    claim = running.cluster.of_kind(CLAIM)[0]
    claim["spec"]["report"] = report(9)
    running.rest()
    assert row(running)["trials"]["finished"] == 0


def test_pool_tells_the_tools_of_its_last_runner_also_after_it(running: Any) -> None:
    reports(running, "one", report(1, toolchain={"torch": "2.11.0", "kernel": "the runner's word"}))
    for _ in range(2):
        status = running.cluster.of_kind(POOL)[0]["status"]
        assert status["toolchain"] == {"torch": "2.11.0"}
        running.cluster.remove(CLAIM, "one", "team-a")
        running.rest()


KERNEL = {"speedup": "1.9", "speedupLow": "1.8", "speedupHigh": "2", "trialId": "t", "digest": "sha256:" + "0" * 64}


def test_challenger_is_shown_as_unconfirmed_and_the_champion_as_speedup(running: Any) -> None:
    reports(running, "one", report(7, challenger=KERNEL))
    status = running.cluster.of_kind(KOPT)[0]["status"]
    assert status["unconfirmedSpeedup"] == row(running)["challenger"]["speedup"] == "1.9"
    assert "speedup" not in status
    assert running.condition(KOPT, "Improved") == ("Unknown", "NotKnown")
    reports(running, "one", report(8, champion={**KERNEL, "speedup": "1.85"}))
    status = running.cluster.of_kind(KOPT)[0]["status"]
    assert status["speedup"] == row(running)["champion"]["speedup"] == "1.85"
    assert "unconfirmedSpeedup" not in status
    assert running.condition(KOPT, "Improved") == ("True", "FasterVerified")


def test_last_words_without_a_champion_take_back_what_reports_claimed(running: Any, told: Callable[..., str]) -> None:
    reports(running, "one", report(7, champion=KERNEL, challenger=KERNEL))
    running.cluster.finish(running.pods("agent")[0], 0, told())
    running.rest()
    status = running.cluster.of_kind(KOPT)[0]["status"]
    assert not {"speedup", "unconfirmedSpeedup"} & set(status)
    assert not {"champion", "challenger"} & set(row(running))
    assert running.condition(KOPT, "Improved") == ("False", "NoFasterKernel")


def test_target_that_is_given_up_keeps_its_champion_and_has_no_challenger(running: Any) -> None:
    reports(running, "one", report(7, champion=KERNEL, challenger=KERNEL))
    running.cluster.finish(running.pods("agent")[0], 2, "the task cannot be one")
    running.rest()
    assert row(running)["state"] == "Failed"
    assert row(running)["champion"]["speedup"] == "1.9"
    assert "challenger" not in row(running)


def test_agent_that_waits_for_the_tracking_server_is_a_condition_that_goes_with_its_cause(running: Any) -> None:
    agent = running.pods("agent")[0]["metadata"]["name"]
    away = report(0, trackingTrouble="MLflow at http://mlflow:5000 cannot be reached")
    running.claim("two", running.owner, requester=agent, idle=True, report=away)
    running.rest()
    assert running.condition(KOPT, "Progressing") == ("False", "TrackingServerAway")
    assert "http://mlflow:5000" in running.message(KOPT, "Progressing")
    assert "this goes on by itself" in running.message(KOPT, "Progressing")
    reports(running, "two", report(0))
    assert running.condition(KOPT, "Progressing") == ("True", "Running")


def test_what_a_former_agent_waited_for_is_past(running: Any) -> None:
    running.claim("two", running.owner, requester="gone", idle=True, report=report(0, trackingTrouble="away"))
    running.rest()
    assert running.condition(KOPT, "Progressing") == ("True", "Running")


def test_claim_that_idles_from_the_beginning_gets_no_runner_until_it_asks_for_one(running: Any) -> None:
    agent = running.pods("agent")[0]["metadata"]["name"]
    before = len(running.jobs("runner"))
    running.claim("two", running.owner, requester=agent, idle=True)
    running.rest()
    claim = next(c for c in running.cluster.of_kind(CLAIM) if c["metadata"]["name"] == "two")
    assert claim["status"]["phase"] == "Pending"
    assert claim["status"]["conditions"][0]["reason"] == "Idle"
    assert running.cluster.of_kind(POOL)[0]["status"]["waiting"] == 0
    assert len(running.jobs("runner")) == before
    claim["spec"]["idle"] = False
    running.rest()
    assert claim["status"]["conditions"][0]["reason"] == "Waiting"
    assert running.cluster.of_kind(POOL)[0]["status"]["waiting"] == 1
