"""Run by tests of launch coverage in a process of its own: candidates are imported, called, and reported on.

The arguments say whether Triton is `interpreted` or `compiled`, and the device. Standard input has a JSON list of
cases: the candidate's source, its claim, and the shape of its input. One line of JSON answers each.
"""

import json
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from everforge.model.candidate import Language
from everforge.model.device import DeviceKind
from everforge.runners.devices import adapter_of
from everforge.runners.devices.base import Device
from everforge.runners.gate.triton_interpret import interpret
from everforge.runners.integrity.coverage import counted, coverage_report
from everforge.runners.integrity.own_kernels import own_kernels
from everforge.runners.integrity.snapshot import Snapshot, changed, snapshot
from everforge.runners.models import candidate_class
from everforge.runners.tensors.trees import leaves


def report_on(case: dict[str, Any], device: Device, before: Snapshot) -> dict[str, Any]:
    first, second = (torch.randn(case["shape"], device=device.torch_device) for _ in range(2))
    with counted() as earlier:
        make = candidate_class(case["source"])
    names = own_kernels(sys.modules["everforge_candidate"]).names
    with counted() as later:
        model = make().to(device.torch_device)
        outputs = [leaf.clone() for leaf in leaves(model(first.clone()))]

    def call(module: Callable[..., Any], inputs: torch.Tensor) -> Any:
        with torch.no_grad():
            return module(inputs.clone())

    report = coverage_report(
        Language(case["claim"]),
        lambda: call(model, first),
        device,
        earlier=earlier + later,
        other=lambda: call(model, second),
        anew=lambda: call(make(), first),
    )
    anew = leaves(make()(first.clone()))
    unharmed = all(torch.equal(*pair) for pair in zip(outputs, anew, strict=True))
    return {**report, "at import": names, "unharmed": unharmed, "replaced": changed(before)}


def main() -> None:
    with ExitStack() as stack:
        if sys.argv[1] == "interpreted":
            stack.enter_context(interpret())
        device, before = adapter_of(DeviceKind(sys.argv[2])), snapshot()
        for case in json.load(sys.stdin):
            torch.manual_seed(0)
            try:
                answer = report_on(case, device, before)
            except Exception:  # noqa: BLE001 - what a candidate raises is the test's to show
                answer = {"raised": traceback.format_exc()}
            sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
