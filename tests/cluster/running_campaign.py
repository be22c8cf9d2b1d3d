"""A campaign in pods while it is under way: its trials, its pods to kill, and at its end the truth of its status.

Tests of what a campaign survives start some of these side by side: `test_campaign_chaos.py`, `test_campaign_pools.py`.
"""

from typing import Any

from installed_product import RUNNER, InstalledProduct

END_OF_RUNNERS_S = 180.0


class RunningCampaign:
    """A KernelOptimization called NAMESPACE/NAME, applied when this is made, in a namespace that is there."""

    def __init__(self, product: InstalledProduct, namespace: str, name: str, **spec: Any) -> None:
        self.product, self.namespace, self.name = product, namespace, name
        product.search(namespace, name, **spec)

    def trials(self) -> list[dict[str, str]]:
        """The tags of every trial in MLflow."""
        return self.product.trial_runs(f"{self.namespace}.{self.name}")

    def after_a_trial(self) -> None:
        """Wait until one trial is recorded, and the next one is under way."""
        self.product.eventually(self.trials, f"the first trial of {self.name}")

    def condition(self, type_: str = "Progressing") -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        return self.product.condition(f"kopt/{self.name}", type_, self.namespace)

    def listed(self, what: str, role: str | None = None) -> list[Any]:
        """The campaign's own Jobs or pods."""
        labels = [f"everforge.dev/optimization={self.name}", *([role] if role else [])]
        return self.product.listed(what, self.namespace, ",".join(labels))

    def claims(self) -> list[Any]:
        """Its agents' claims."""
        claims = self.product.listed("runnerclaims", self.namespace)
        return [claim for claim in claims if claim["spec"]["owner"]["name"] == self.name]

    def pod(self, role: str) -> Any:
        """The pod of a role that runs."""

        def running() -> Any:
            pods = self.listed("pods", role)
            return next((pod for pod in pods if pod["status"]["phase"] == "Running"), None)

        return self.product.eventually(running, f"a running pod of {self.name} with {role}")

    def kill(self, role: str) -> None:
        """Kill the processes of the pod of a role."""
        self.product.node.kill(self.pod(role)["metadata"]["uid"])

    def delete(self) -> None:
        """Delete the object, and do not wait for what it owns."""
        self.product.node.kubectl("delete", "kopt", self.name, "-n", self.namespace, "--wait=false")

    def truth(self) -> Any:
        """The status at the campaign's end, compared with what MLflow and the cluster have."""
        status = self.product.ended(self.namespace, self.name)
        trials = self.trials()
        self._each_once(status, trials)
        succeeded = next(each for each in status["conditions"] if each["type"] == "Succeeded")
        assert succeeded["status"] == "True", status
        assert ("champion" in status["targets"][0]) == any(
            trial["everforge.purpose"] == "champion" and trial["everforge.verdict"] == "faster" for trial in trials
        )
        self._is_cleared()
        return status

    def _each_once(self, status: Any, trials: list[dict[str, str]]) -> None:
        """Every finished trial is recorded once, every candidate judged once, and all of them are counted."""
        assert len({trial["everforge.trial_id"] for trial in trials}) == len(trials), trials
        searched = [trial for trial in trials if trial["everforge.purpose"] == "search"]
        # What a broken machine ended says nothing of its candidate, which is tried again.
        finished = [trial for trial in searched if trial["everforge.verdict"] != "infra_error"]
        assert len({trial["everforge.candidate_digest"] for trial in finished}) == len(finished), trials
        asked = self.product.spec(self.namespace, self.name)["budget"]["trials"]
        assert status["trials"]["finished"] == status["spend"]["trials"] == len(finished) == asked, (status, trials)
        assert status["trials"]["infraFailed"] == len(searched) - len(finished), (status, trials)

    def _is_cleared(self) -> None:
        """No runner, no agent at work, no claim that waits for anything."""
        self.product.eventually(lambda: not self.listed("pods", RUNNER), "the end of runners", END_OF_RUNNERS_S)
        assert not self.listed("jobs", RUNNER)
        assert not [job for job in self.listed("jobs") if job["status"].get("active")]
        assert {claim["status"]["phase"] for claim in self.claims()} <= {"Released", "Revoked", "Failed"}
