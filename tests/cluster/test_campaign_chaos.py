"""What dies while campaigns run in pods costs no finished trial and doubles none, and the status tells the truth.

Campaigns run side by side, so that one computes while the other starts. That an
operator may die between any two of its writes is proven write by write in `test_operator_restart.py`, without pods.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from installed_product import AGENT, RUNNER, InstalledProduct
from running_campaign import RunningCampaign

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# Longer than any request waits, shorter than the ten minutes that an agent does.
OUTAGE_S = 60.0
WIDE = [{"devicePool": "wide"}]
Campaigns = dict[str, RunningCampaign]


def started(product: InstalledProduct, namespace: str, trials: dict[str, int]) -> Campaigns:
    """Campaigns in a namespace of their own, name to how many trials each is to make."""
    product.is_at_work()
    product.add_namespace(namespace)
    return {
        name: RunningCampaign(product, namespace, name, targets=WIDE, budget={"trials": number})
        for name, number in trials.items()
    }


@pytest.fixture(scope="module")
def victims(product: InstalledProduct) -> Campaigns:
    """Campaigns whose agent, whose runner or whose object is taken away while a trial is under way."""
    campaigns = started(product, "chaos-pods", {"agent": 2, "runner": 2, "deleted": 3})
    events = {
        "agent": partial(campaigns["agent"].kill, AGENT),
        "runner": partial(campaigns["runner"].kill, RUNNER),
        "deleted": campaigns["deleted"].delete,
    }
    while events:
        name = product.eventually(lambda: next((n for n in events if campaigns[n].trials()), None), "a first trial")
        events.pop(name)()
    return campaigns


def test_killed_agent_is_followed_by_one_that_goes_on(victims: Campaigns) -> None:
    assert victims["agent"].truth()["targets"][0]["attempt"] == 2


def test_killed_runner_is_replaced(victims: Campaigns) -> None:
    assert victims["runner"].truth()["trials"]["infraFailed"] <= 1
    assert len({trial["everforge.host"] for trial in victims["runner"].trials()}) == 2


def test_deleted_object_leaves_its_finished_trials_and_nothing_else(
    victims: Campaigns, product: InstalledProduct
) -> None:
    campaign = victims["deleted"]

    def left() -> list[Any]:
        return [*campaign.listed("jobs,pods,configmaps,secrets"), *campaign.claims()]

    product.eventually(lambda: not left(), "the end of all it owned", 180.0)
    trials = campaign.trials()
    assert trials
    assert len({trial["everforge.trial_id"] for trial in trials}) == len(trials)


class Operator:
    """The operator's pod, killed again and again."""

    def __init__(self, product: InstalledProduct) -> None:
        self._product = product
        self.killed: set[str] = set()

    def kill(self) -> None:
        """Kill it without a warning; the next one starts at once, for Kubernetes makes a crashed container wait."""
        self._product.is_at_work()
        (pod,) = self._product.listed("pods", "everforge-system")
        self._product.node.kill(pod["metadata"]["uid"])
        now = ("--force", "--grace-period=0")
        self._product.node.kubectl("delete", "pod", pod["metadata"]["name"], "-n", "everforge-system", *now)
        self.killed.add(pod["metadata"]["uid"])


def steps_of(campaign: RunningCampaign) -> dict[str, Callable[[], object]]:
    """What becomes of a campaign, one after the other, each to be looked for."""

    def bound() -> list[Any]:
        return [claim for claim in campaign.claims() if claim.get("status", {}).get("phase") == "Bound"]

    return {
        "the agent's Job": lambda: campaign.listed("jobs", AGENT),
        "the claim": campaign.claims,
        "the runner's Job": lambda: campaign.listed("jobs", RUNNER),
        "the bound claim": bound,
        "the first trial": campaign.trials,
    }


@pytest.fixture(scope="module")
def shaken(product: InstalledProduct) -> Campaigns:
    """Campaigns whose operator dies at each step, and then nobody answers: first MLflow goes, then the API server."""
    operator = Operator(product)
    campaigns = started(product, "chaos-servers", {"one": 3, "two": 3})
    operator.kill()
    steps = steps_of(campaigns["one"])
    for what, look in steps.items():
        product.eventually(look, what)
        operator.kill()
    assert len(operator.killed) == 1 + len(steps)
    product.node.kubectl("scale", "deployment/mlflow", "-n", "mlflow", "--replicas=0")
    product.eventually(lambda: not product.listed("pods", "mlflow"), "the end of MLflow")
    back_s = time.monotonic() + OUTAGE_S
    product.node.restart_apiserver()
    time.sleep(max(0.0, back_s - time.monotonic()))  # the rest of the outage
    product.node.kubectl("scale", "deployment/mlflow", "-n", "mlflow", "--replicas=1")
    product.is_at_work()
    return campaigns


@pytest.mark.parametrize("name", ["one", "two"])
def test_killed_operators_a_restarted_api_server_and_a_minute_without_mlflow_cost_nothing(
    shaken: Campaigns, name: str
) -> None:
    assert shaken[name].truth()["targets"][0]["attempt"] == 1
