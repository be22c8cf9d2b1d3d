"""What dies while a campaign runs in pods costs no finished trial and doubles none, and the status tells the truth.

Each test has a namespace and a campaign of its own, on the node and the product of `test_campaign.py`.
"""

import secrets
import time
from typing import Any

import pytest
from installed_product import AGENT, RUNNER, InstalledProduct

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

NAME = "search"
TRIALS = 3  # of campaign/search.yaml
ROWS = 64
# Longer than any request waits, shorter than the agent does.
OUTAGE_S = 30.0


class Campaign:
    """A campaign that is under way."""

    def __init__(self, product: InstalledProduct, namespace: str) -> None:
        self.product, self.namespace = product, namespace
        product.is_at_work()
        product.add_namespace(namespace)
        product.search(namespace, NAME, ROWS)

    def trials(self) -> list[dict[str, str]]:
        """The tags of every trial in MLflow."""
        return self.product.trial_runs(f"{self.namespace}.{NAME}")

    def after_a_trial(self) -> None:
        """Wait until one trial is recorded, and the next one is under way."""
        self.product.eventually(self.trials, "the first trial")

    def pod(self, labels: str) -> Any:
        """The pod of a role that runs."""

        def running() -> Any:
            pods = self.product.listed("pods", self.namespace, labels)
            return next((pod for pod in pods if pod["status"]["phase"] == "Running"), None)

        return self.product.eventually(running, f"a running pod with {labels}")

    def kill(self, labels: str) -> None:
        """Kill the processes of the pod of a role."""
        self.product.node.kill(self.pod(labels)["metadata"]["uid"])

    def truth(self) -> Any:
        """The status at the campaign's end, compared with what MLflow and the cluster have."""
        status = self.product.ended(self.namespace, NAME)
        trials = self.trials()
        searched = [trial for trial in trials if trial["everforge.purpose"] == "search"]
        assert len({trial["everforge.trial_id"] for trial in trials}) == len(trials), trials
        # What a broken machine ended says nothing of its candidate, which is tried again.
        finished = [trial for trial in searched if trial["everforge.verdict"] != "infra_error"]
        assert len({trial["everforge.candidate_digest"] for trial in finished}) == len(finished), trials
        assert status["trials"]["finished"] == status["spend"]["trials"] == len(finished) == TRIALS, (status, trials)
        assert status["trials"]["infraFailed"] == len(searched) - len(finished), (status, trials)
        succeeded = next(each for each in status["conditions"] if each["type"] == "Succeeded")
        assert succeeded["status"] == "True", status
        assert ("champion" in status["targets"][0]) == any(
            trial["everforge.purpose"] == "champion" and trial["everforge.verdict"] == "faster" for trial in trials
        )
        self.is_cleared()
        return status

    def is_cleared(self) -> None:
        """No runner, no agent at work, no claim that waits for anything."""
        listed = self.product.listed
        self.product.eventually(lambda: not listed("pods", self.namespace, RUNNER), "the end of runners", 120.0)
        assert not listed("jobs", self.namespace, RUNNER)
        assert not [job for job in listed("jobs", self.namespace) if job["status"].get("active")]
        phases = {claim["status"]["phase"] for claim in listed("runnerclaims", self.namespace)}
        assert phases <= {"Released", "Revoked", "Failed"}


@pytest.fixture
def campaign(product: InstalledProduct) -> Campaign:
    return Campaign(product, f"chaos-{secrets.token_hex(4)}")


def test_killed_agent_is_followed_by_one_that_goes_on(campaign: Campaign) -> None:
    campaign.after_a_trial()
    campaign.kill(AGENT)
    assert campaign.truth()["targets"][0]["attempt"] == 2


def test_killed_runner_is_replaced(campaign: Campaign) -> None:
    campaign.after_a_trial()
    campaign.kill(RUNNER)
    assert campaign.truth()["trials"]["infraFailed"] <= 1
    assert len({trial["everforge.host"] for trial in campaign.trials()}) == 2


def test_killed_operator_goes_on_where_it_was(campaign: Campaign, product: InstalledProduct) -> None:
    def operator() -> Any:
        return product.listed("pods", "everforge-system")[0]

    def restarts() -> int:
        return int(operator()["status"]["containerStatuses"][0]["restartCount"])

    before = restarts()
    # While it serves the claim, and while a trial is under way.
    product.eventually(lambda: product.listed("pods", campaign.namespace), "the agent's pod")
    product.node.kill(operator()["metadata"]["uid"])
    campaign.after_a_trial()
    product.is_at_work()
    product.node.kill(operator()["metadata"]["uid"])
    assert campaign.truth()["targets"][0]["attempt"] == 1
    assert restarts() >= before + 2


def test_api_server_may_restart_under_a_campaign(campaign: Campaign, product: InstalledProduct) -> None:
    campaign.after_a_trial()
    product.node.restart_apiserver()
    assert campaign.truth()["targets"][0]["attempt"] == 1


def test_tracking_server_may_be_away_for_half_a_minute(campaign: Campaign, product: InstalledProduct) -> None:
    campaign.after_a_trial()
    product.node.kubectl("scale", "deployment/mlflow", "-n", "mlflow", "--replicas=0")
    product.eventually(lambda: not product.listed("pods", "mlflow"), "the end of MLflow")
    time.sleep(OUTAGE_S)  # the outage itself
    product.node.kubectl("scale", "deployment/mlflow", "-n", "mlflow", "--replicas=1")
    assert campaign.truth()["targets"][0]["attempt"] == 1


def test_deleted_object_leaves_its_finished_trials_and_nothing_else(
    campaign: Campaign, product: InstalledProduct
) -> None:
    campaign.after_a_trial()
    product.node.kubectl("delete", "kopt", NAME, "-n", campaign.namespace)

    def left() -> list[Any]:
        kinds = "jobs,pods,runnerclaims,configmaps,secrets"
        found = product.listed(kinds, campaign.namespace)
        return [each for each in found if each["metadata"]["name"] != "kube-root-ca.crt"]

    product.eventually(lambda: not left(), "the end of all it owned", 180.0)
    trials = campaign.trials()
    assert trials
    assert len({trial["everforge.trial_id"] for trial in trials}) == len(trials)
