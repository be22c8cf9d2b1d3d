"""A search from `kubectl apply` to its champion in MLflow, with everything in pods: operator, agent, runner, MLflow.

`make test-node` runs it. Images are made of what this machine has installed (`product_images.py`).
"""

from typing import Any

import pytest
from installed_product import AGENT, RUNNER, InstalledProduct

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

NAMESPACE, NAME = "team-a", "softmax"


@pytest.fixture(scope="module")
def runner_pod(product: InstalledProduct) -> Any:
    """The runner's pod of a campaign that has just begun."""
    product.add_namespace(NAMESPACE)
    product.search(NAMESPACE, NAME, "search.yaml")
    return product.eventually(lambda: product.listed("pods", NAMESPACE, RUNNER), "the runner's pod")[0]


@pytest.fixture(scope="module")
def status(product: InstalledProduct, runner_pod: Any) -> Any:
    """The campaign's status at its end."""
    return product.ended(NAMESPACE, NAME)


def test_runner_is_admitted_where_pods_must_be_restricted(runner_pod: Any) -> None:
    container = runner_pod["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not any("serviceAccountToken" in str(volume) for volume in runner_pod["spec"]["volumes"])


def test_runner_is_under_a_policy_that_lets_it_speak_to_agents_alone(
    product: InstalledProduct, runner_pod: Any
) -> None:
    """That the policy is applied to it; the network of the test node is a bridge, which enforces none."""
    (policy,) = product.listed("networkpolicies", NAMESPACE)
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    assert selected <= runner_pod["metadata"]["labels"].items()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy["spec"] or policy["spec"]["egress"] == []
    (rule,) = policy["spec"]["ingress"]
    (port,) = runner_pod["spec"]["containers"][0]["ports"]
    assert [each["port"] for each in rule["ports"]] == [port["containerPort"]]
    (agent,) = product.listed("pods", NAMESPACE, AGENT)
    (speaker,) = rule["from"]
    assert speaker["podSelector"]["matchLabels"].items() <= agent["metadata"]["labels"].items()


def test_agent_has_no_device_and_no_more_rights_than_claims(product: InstalledProduct, status: Any) -> None:
    (agent,) = product.listed("pods", NAMESPACE, AGENT)
    container = agent["spec"]["containers"][0]
    assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]


def test_campaign_succeeds_with_a_champion(product: InstalledProduct, status: Any) -> None:
    conditions = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    assert conditions["Succeeded"] == ("True", "BudgetExhausted"), status
    assert conditions["Improved"] == ("True", "FasterVerified"), status
    champion = status["targets"][0]["champion"]
    assert 1.0 < float(champion["speedupLow"]) <= float(champion["speedup"]) <= float(champion["speedupHigh"])
    assert champion["digest"].startswith("sha256:")
    assert champion["modelUri"].startswith("models:/")
    runs = product.trial_runs(f"{NAMESPACE}.{NAME}")
    found = next(run for run in runs if run["everforge.trial_id"] == champion["trialId"])
    assert found["everforge.candidate_digest"] == champion["digest"]
    assert status["speedup"] == champion["speedup"]


def test_counters_are_the_trials_in_mlflow(product: InstalledProduct, status: Any) -> None:
    runs = product.trial_runs(f"{NAMESPACE}.{NAME}")
    assert len({run["everforge.trial_id"] for run in runs}) == len(runs)
    searched = [run for run in runs if run["everforge.purpose"] == "search"]
    assert status["trials"]["finished"] == len(searched) == status["spend"]["trials"] == 3
    verdicts = [run["everforge.verdict"] for run in searched]
    assert status["trials"]["faster"] == verdicts.count("faster")


def test_columns_say_how_it_ended(product: InstalledProduct, status: Any) -> None:
    header, row = product.node.kubectl("get", "kopt", "-n", NAMESPACE).splitlines()
    assert header.split() == ["NAME", "SUCCEEDED", "REASON", "SPEEDUP", "UNCONFIRMED", "TRIALS", "AGE"]
    assert row.split()[:5] == [NAME, "True", "BudgetExhausted", status["speedup"], "3"]


def test_nothing_is_left_running(product: InstalledProduct, status: Any) -> None:
    product.eventually(lambda: not product.listed("pods", NAMESPACE, RUNNER), "the end of the runner", 120.0)
    assert not product.listed("jobs", NAMESPACE, RUNNER)
    assert {claim["status"]["phase"] for claim in product.listed("runnerclaims", NAMESPACE)} <= {"Released", "Revoked"}
    assert [job["status"].get("active", 0) for job in product.listed("jobs", NAMESPACE)] == [0]


def test_operators_metrics_have_the_speedup(product: InstalledProduct, status: Any) -> None:
    (pod,) = product.listed("pods", "everforge-system")
    path = f"/api/v1/namespaces/everforge-system/pods/{pod['metadata']['name']}:8080/proxy/metrics"
    assert status["speedup"] in product.node.kubectl("get", "--raw", path)
