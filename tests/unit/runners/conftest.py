"""A warm process, and sessions on small tasks: what every test of the runner stands on."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.graph import TaskGraph
from everforge.model.precision import Precision
from everforge.runners.devices import device_of
from everforge.runners.environment import environment_of
from everforge.runners.facts.tracing import trace_task
from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.isolation.worker_handle import Worker


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """One warm process for all tests."""
    root = tmp_path_factory.mktemp("nursery")
    for directory in (root, *root.parents):  # workers' users must be able to reach their own directories
        if directory.stat().st_uid == Path.home().stat().st_uid and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    nursery = Nursery(root)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def environment(nursery: Nursery) -> Environment:
    return environment_of(device_of(DeviceKind.CPU), nursery.layers)


@pytest.fixture(scope="session")
def peaks() -> Peaks:
    """Round numbers: what the ceilings really are is the device's own test."""
    return Peaks(bandwidth_bytes_per_s=1e10, flops_per_s={Precision.FP32: 1e11})


class Confidant:
    """Runs hostile code as a candidate's module and hears what it found out."""

    limits = Limits(cpu_seconds=20, address_bytes=None, file_bytes=1 << 20, processes=64)

    def __init__(self, nursery: Nursery) -> None:
        self.nursery = nursery

    def load(self, worker: Worker, body: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Import a candidate whose module-level code is `body`; the worker's answer."""
        message = {"op": "load", "device": "cpu", "tf32": False, "source": f"{body}\nclass ModelNew:\n    pass\n"}
        return worker.ask(message, deadline_s=time.monotonic() + timeout_s)

    def ask(self, worker: Worker, body: str, timeout_s: float = 20.0) -> Any:
        """What `body` left in the variable `found`, which goes through JSON."""
        answer = self.load(worker, f"{body}\nimport json\nraise ValueError('found ' + json.dumps(found))", timeout_s)
        _, told, found = answer["failure"]["traceback"].rpartition("ValueError: found ")
        assert told, answer["failure"]["traceback"]
        return json.loads(found)

    def find(self, body: str) -> Any:
        """As `ask`, of a worker of its own."""
        with self.nursery.worker(self.limits) as worker:
            return self.ask(worker, body)

    def need(self, *layers: str) -> None:
        """Skip the test where the machine does not allow these layers."""
        missing = set(layers) - set(self.nursery.layers)
        if missing:
            pytest.skip(f"this machine allows no layer {', '.join(sorted(missing))}")

    def need_count(self) -> None:
        """Skip the test where the candidate's processes cannot be told from others of the same user."""
        if not {"uid", "user-namespace"} & set(self.nursery.layers):
            pytest.skip("this machine lets no worker have a user of its own, so processes cannot be counted")


@pytest.fixture(scope="session")
def confidant(nursery: Nursery) -> Confidant:
    return Confidant(nursery)


class Forward(nn.Module):
    """A module made of its forward(), which gets the module and its parts: `lambda m, x: m.linear(x).sum()`."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self._forward(self, *inputs)


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., TaskGraph]:
    """Traces a module, or a forward() with its parts, on some inputs."""

    def traced(model: nn.Module | Callable[..., Any], *inputs: torch.Tensor, **parts: Any) -> TaskGraph:
        module = model if isinstance(model, nn.Module) else Forward(model, **parts)
        graph = trace_task(module.eval(), inputs, "main", [])
        assert isinstance(graph, TaskGraph), graph
        return graph

    return traced
