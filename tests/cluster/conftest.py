"""A real API server for the tests of this directory: `control_plane`, `admin`, `kubectl`, `namespace`, its failures.

All of them run in one xdist worker, so that one cluster serves a session and nobody restarts it under another's feet.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cluster_binaries
from control_plane import ControlPlane, new_control_plane
from debian_packages import NotDebian
from full_node import FullNode, NodeImpossible, new_full_node
from installed_product import InstalledProduct
from kubernetes import client, config
from other_cluster import BorrowedCluster, CannotStage, KindCluster, borrowed, kind_is_usable

HERE = Path(__file__).parent
Cluster = ControlPlane | BorrowedCluster
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
LOGS = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this directory needs the cluster, and shares one."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("cluster")
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure says where the servers' logs are."""
    report = yield
    if report.failed and (logs := item.config.stash.get(LOGS, [])):
        report.sections.append(("cluster", f"The servers' logs stay in {' and '.join(logs)}"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """A test whose fixtures need a cluster's authority is skipped on one that is not ours."""
    return (yield from skipped_where_it_cannot_be_staged())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that stages a failure is skipped there, too."""
    return (yield from skipped_where_it_cannot_be_staged())


def skipped_where_it_cannot_be_staged() -> Generator[None, object, object]:
    """What pytest does, with a skip in the place of CannotStage."""
    try:
        return (yield)
    except CannotStage as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster. Without one the tests are skipped with a loud line."""
    try:
        cluster = start_cluster()
    except cluster_binaries.BinariesMissing as missing:
        pytest.skip(f"NO CLUSTER: nothing was tested on a real Kubernetes. {missing}")
    if isinstance(cluster, ControlPlane):
        request.config.stash.setdefault(LOGS, []).append(str(cluster.logs))
    yield cluster
    cluster.stop(keep_logs=request.session.testsfailed > 0)


def start_cluster() -> Cluster:
    """The cluster the user named; else one of prebuilt programs, of kind, or of what `make cluster-binaries` built."""
    if named := borrowed():
        return named
    try:
        plane = new_control_plane()
    except cluster_binaries.BinariesMissing:
        if kind_is_usable():
            return KindCluster()
        raise
    plane.start()
    return plane


@pytest.fixture(scope="session")
def full_node(request: pytest.FixtureRequest) -> Iterator[FullNode]:
    """A cluster whose node runs pods, beside `control_plane`. Where it cannot be had, tests are skipped with a line."""
    try:
        node = new_full_node()
    except (cluster_binaries.BinariesMissing, NodeImpossible) as missing:
        pytest.skip(f"NO NODE: no pod was run on a real Kubernetes. {missing}")
    request.config.stash.setdefault(LOGS, []).append(str(node.logs))
    node.start()
    yield node
    node.stop(keep_logs=request.session.testsfailed > 0)


@pytest.fixture(scope="session")
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> InstalledProduct:
    """Everforge installed on the node, from images of this machine's files. Where it cannot be, tests are skipped."""
    if not os.environ.get("EVERFORGE_TEST_NODE"):
        pytest.skip("NO CAMPAIGN: no kernel was searched in a cluster. `make test-node` does it, in minutes")
    node: FullNode = request.getfixturevalue("full_node")
    installed = InstalledProduct(node)
    try:
        installed.install(tmp_path_factory.mktemp("images"))
    except NotDebian as reason:
        pytest.skip(f"NO CAMPAIGN: no kernel was searched in a cluster. {reason}")
    return installed


@pytest.fixture(scope="session")
def admin(control_plane: Cluster) -> Iterator[client.ApiClient]:
    """A client that may do everything."""
    api_client: Any = config.new_client_from_config(str(control_plane.kubeconfig))  # type: ignore[no-untyped-call]
    with api_client:
        yield api_client


@pytest.fixture(scope="session")
def kubectl(control_plane: Cluster) -> Kubectl:
    """`kubectl("get", "pods", stdin=…)` as the admin; the result has returncode, stdout and stderr."""
    program = cluster_binaries.find_kubectl()

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        # kubectl remembers for hours which kinds a cluster has; a test may have added one since.
        with tempfile.TemporaryDirectory() as cache:
            command = [program, f"--kubeconfig={control_plane.kubeconfig}", f"--cache-dir={cache}", *arguments]
            return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.fixture
def namespace(admin: client.ApiClient) -> Iterator[str]:
    """A namespace of the test's own; its deletion is not waited for."""
    core = client.CoreV1Api(admin)
    name = f"test-{secrets.token_hex(4)}"
    body: Any = {"metadata": {"name": name}}
    core.create_namespace(body)
    yield name
    core.delete_namespace(name)


@pytest.fixture
def restart_apiserver(control_plane: Cluster) -> Callable[[], None]:
    """Kill the API server and start it again; returns when it is ready."""
    return control_plane.restart_apiserver


@pytest.fixture
def without_apiserver(control_plane: Cluster) -> Callable[[], AbstractContextManager[None]]:
    """`with without_apiserver():` nobody answers; after the block it is ready again."""

    @contextmanager
    def outage() -> Iterator[None]:
        control_plane.stop_apiserver()
        try:
            yield
        finally:
            control_plane.start_apiserver()

    return outage
