"""The operator's probes on a real API server that falls silent: what they say, and that they recover by themselves.

The limits are seconds here and minutes by default.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_in_between import ApiInBetween
from kubernetes import client
from operator_process import ACCOUNT, GROUPS, OperatorProcess, eventually
from test_operator import GROUP, VERSION, Objects, installed

__all__ = ["installed"]  # the fixture that applies the definitions
# One more than the operator has workers.
MANY = 4


@pytest.fixture(scope="module")
def in_between(installed: None, control_plane: Any, tmp_path_factory: Any) -> Iterator[ApiInBetween]:
    kubeconfig = control_plane.kubeconfig_for("operator-in-between", ACCOUNT, GROUPS)
    proxy = ApiInBetween(kubeconfig, tmp_path_factory.mktemp("in-between"))
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def operator(in_between: ApiInBetween, tmp_path_factory: Any) -> Iterator[OperatorProcess]:
    limits = ("--stale-seconds=3", "--dead-seconds=6", "--behind-seconds=3", "--stuck-seconds=6", "--answer-seconds=15")
    log = tmp_path_factory.mktemp("operator") / "log"
    process = OperatorProcess(in_between.kubeconfig, Path(log), *limits)
    process.start()
    yield process
    process.close()


@pytest.fixture
def objects(operator: OperatorProcess, admin: client.ApiClient, namespace: str) -> Iterator[Objects]:
    """A pool, and nothing on it yet."""
    custom = client.CustomObjectsApi(admin)
    spec = {"vendor": "CPU", "architecture": "x86_64", "runner": {"image": "runner:test"}}
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "DevicePool", "metadata": {"name": namespace}, "spec": spec}
    custom.create_cluster_custom_object(GROUP, VERSION, "devicepools", body)
    yield Objects(admin, namespace, namespace)
    custom.delete_cluster_custom_object(GROUP, VERSION, "devicepools", namespace)


def says(operator: OperatorProcess, path: str, status: int, words: str) -> None:
    heard: list[tuple[int, str]] = []

    def said() -> bool:
        heard.append(operator.answers(path))
        return heard[-1][0] == status and words in heard[-1][1]

    try:
        eventually(said, f"{path} saying {status} {words}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it said {sorted(set(heard))}") from None


def is_well(operator: OperatorProcess) -> None:
    says(operator, "/readyz", 200, "ok")
    says(operator, "/healthz", 200, "ok")


def test_watch_that_brings_nothing_is_noticed_by_what_was_written(
    operator: OperatorProcess, in_between: ApiInBetween, objects: Objects
) -> None:
    is_well(operator)
    in_between.job_events_pass.clear()
    try:
        objects.apply()
        eventually(objects.jobs, "a Job, which no watch tells the operator of")
        says(operator, "/readyz", 503, "the watches are stale")
        says(operator, "/healthz", 503, "the watches are dead")
    finally:
        in_between.job_events_pass.set()
    is_well(operator)


def test_queue_that_is_stuck_is_noticed(operator: OperatorProcess, in_between: ApiInBetween, objects: Objects) -> None:
    is_well(operator)
    in_between.answers_pass.clear()
    try:
        for number in range(MANY):
            objects.apply(f"k{number}")
        says(operator, "/readyz", 503, "the queue is behind")
        says(operator, "/healthz", 503, "a reconciliation has been at work for")
        # The operator waits for no answer for ever; its workers are free again then, and know why.
        says(operator, "/readyz", 503, "the API server has not answered")
    finally:
        in_between.answers_pass.set()
    is_well(operator)
