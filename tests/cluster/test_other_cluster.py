"""Clusters that the tests do not run themselves: kind by its command line, and the one of $KUBECONFIG, left alone.

A stand-in for `kind` takes what its commands take (pkg/cmd/kind of kubernetes-sigs/kind) and refuses what they refuse.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from other_cluster import BorrowedCluster, CannotStage, KindCluster, borrowed, kind_is_usable

KIND = f"""#!{sys.executable}
import argparse, json, os, pathlib, re, sys

parser = argparse.ArgumentParser(prog="kind", allow_abbrev=False)
verbs = parser.add_subparsers(dest="verb", required=True)
create = verbs.add_parser("create").add_subparsers(dest="noun", required=True).add_parser("cluster", allow_abbrev=False)
for name in ("--name", "--config", "--image", "--kubeconfig", "--wait"):
    create.add_argument(name)
create.add_argument("--retain", action="store_true")
delete = verbs.add_parser("delete").add_subparsers(dest="noun", required=True).add_parser("cluster", allow_abbrev=False)
for name in ("--name", "--kubeconfig"):
    delete.add_argument(name)
logs = verbs.add_parser("export").add_subparsers(dest="noun", required=True).add_parser("logs", allow_abbrev=False)
logs.add_argument("--name")
logs.add_argument("directory", nargs="?")
asked = parser.parse_args()

there = pathlib.Path(os.environ["STAND_IN"], "clusters", asked.name)
proxies = sorted(name for name in os.environ if name.lower().endswith("_proxy"))
with open(os.path.join(os.environ["STAND_IN"], "asked"), "a") as log:
    log.write(json.dumps({{"proxies": proxies, **vars(asked)}}) + "\\n")
if asked.verb == "create":
    if not re.fullmatch("[a-z0-9.-]+", asked.name) or len(asked.name) > 50:
        sys.exit(f"ERROR: failed to create cluster: '{{asked.name}}' is not a valid cluster name")
    if not re.fullmatch("([0-9]+(h|m|s))+", asked.wait):
        sys.exit(f'ERROR: invalid argument "{{asked.wait}}" for "--wait" flag')
    there.mkdir(parents=True)
    if os.environ.get("STAND_IN_FAILS"):
        sys.exit("ERROR: failed to create cluster: docker run failed")
    pathlib.Path(asked.kubeconfig).write_text("kind: Config")
elif asked.verb == "export":
    if not there.exists():
        sys.exit(f'ERROR: unknown cluster "{{asked.name}}"')
    pathlib.Path(asked.directory).mkdir()
elif there.exists():
    there.rmdir()
"""


class StandIn:
    """A machine with a `kind` and a `docker` of ours."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "bin").mkdir()
        (directory / "clusters").mkdir()

    def program(self, name: str, text: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "asked").read_text().splitlines()]

    def clusters(self) -> list[str]:
        return [path.name for path in (self.directory / "clusters").iterdir()]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(tmp_path)
    made.program("kind", KIND)
    made.program("docker", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    # Where temporary directories are made.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return made


def test_kind_is_asked_for_a_cluster_by_options_and_a_name_that_it_takes(machine: StandIn) -> None:
    cluster = KindCluster()
    (asked,) = machine.asked()
    assert (asked["verb"], asked["noun"], asked["wait"]) == ("create", "cluster", "2m")
    assert asked["kubeconfig"] == str(cluster.kubeconfig)
    assert machine.clusters() == [cluster.name]
    assert cluster.kubeconfig.read_text() == "kind: Config"


def test_nodes_of_kind_get_no_proxy_that_leads_nowhere(machine: StandIn) -> None:
    KindCluster().stop()
    assert [asked["proxies"] for asked in machine.asked()] == [[], []]


def test_cluster_of_kind_goes_with_all_that_was_written(machine: StandIn) -> None:
    cluster = KindCluster()
    cluster.stop()
    assert machine.clusters() == []
    assert not cluster.directory.exists()
    assert machine.asked()[-1]["kubeconfig"] == str(cluster.kubeconfig)


def test_logs_of_kind_stay_beside_the_kubeconfig(machine: StandIn) -> None:
    cluster = KindCluster()
    cluster.stop(keep_logs=True)
    assert (cluster.directory / "logs").is_dir()
    assert machine.clusters() == []


def test_cluster_that_kind_does_not_get_up_is_cleared_away(machine: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    with pytest.raises(subprocess.CalledProcessError):
        KindCluster()
    assert machine.clusters() == []
    assert list((machine.directory / "tmp").iterdir()) == []


def test_kind_is_used_only_where_a_docker_engine_answers(machine: StandIn) -> None:
    assert kind_is_usable()
    machine.program("docker", "#!/bin/sh\nexit 1\n")
    assert not kind_is_usable()
    (machine.directory / "bin" / "docker").unlink()
    assert not kind_is_usable()


def test_cluster_of_kubeconfig_is_used_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.delenv("EVERFORGE_CLUSTER", raising=False)
    assert borrowed() is None
    monkeypatch.setenv("EVERFORGE_CLUSTER", "kubeconfig")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        borrowed()
    kubeconfig.touch()
    found = borrowed()
    assert found is not None
    assert found.kubeconfig == kubeconfig


@pytest.mark.parametrize("stage", ["restart_apiserver", "stop_apiserver", "start_apiserver"])
def test_cluster_of_others_is_not_broken(tmp_path: Path, stage: str) -> None:
    cluster = BorrowedCluster(tmp_path)
    with pytest.raises(CannotStage, match="is not ours"):
        getattr(cluster, stage)()
    with pytest.raises(CannotStage, match="signs nothing for operator"):
        cluster.kubeconfig_for("operator", "operator")
    cluster.stop()
    assert os.path.isdir(tmp_path)
