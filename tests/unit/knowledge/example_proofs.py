"""Runs the examples of knowledge entries in a process of its own: `example_proofs.py MODE FILE`.

FILE holds the examples as JSON, id to example; the last line printed is JSON, id to what went wrong or null.
Triton decides at its import whether kernels are compiled or interpreted, so each mode is a process.
"""

import importlib.util
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from everforge.model.check import GateReport
from everforge.runners.gate.triton_gate import compile_ahead
from everforge.runners.gate.triton_interpret import interpret

ARCH = "sm_90"
# What an example leaves out, because every candidate has it.
HEAD = {
    "triton": "import math\nimport torch\nimport triton\nimport triton.language as tl\n\n\n",
    "pytorch": "import math\nimport torch\nimport torch.nn.functional as F\n\n\n",
}


def imported(folder: Path, name: str, code: str, language: str) -> Any:
    """The code as a module in a file of its own: Triton reads the source of its kernels."""
    path = folder / f"{name.replace('-', '_')}.py"
    path.write_text(HEAD[language] + code)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def modules(folder: Path, name: str, example: dict[str, Any]) -> dict[str, Any]:
    """`after`, and `before` where the proof speaks of it."""
    found = {"after": imported(folder, f"{name}_after", example["after"], example["language"])}
    if example["before"] is not None and "before" in example["proof"]:
        found["before"] = imported(folder, f"{name}_before", example["before"], example["language"])
    return found


def run(folder: Path, name: str, example: dict[str, Any]) -> str | None:
    """What a proof that computes values has against its example."""
    torch.manual_seed(0)
    exec(example["proof"], {"torch": torch, "math": __import__("math"), **modules(folder, name, example)})
    return None


def compiled(folder: Path, name: str, example: dict[str, Any], which: str) -> GateReport:
    """What the gate says of the launch that the proof makes of `before` or of `after`."""

    def launch() -> None:
        with torch.device("cuda"), torch.no_grad():
            module = imported(folder, f"{name}_{which}", example[which], example["language"])
            exec(example["proof"], {"torch": torch, "after": module})

    return compile_ahead(launch, ARCH)


def compile_after(folder: Path, name: str, example: dict[str, Any]) -> str | None:
    """Why `after` does not compile as promised."""
    report = compiled(folder, name, example, "after")
    features = {feature for kernel in report.kernels for feature in kernel.features}
    missing = sorted(set(example["features"]) - features)
    if report.fault is not None or report.not_checked is not None:
        return str(report.fault.message if report.fault else report.not_checked)
    return f"the machine code has {sorted(features)}, not {missing}" if missing else None


def flag_before(folder: Path, name: str, example: dict[str, Any]) -> str | None:
    """Why the gate does not hold `before` against whoever wrote it."""
    report = compiled(folder, name, example, "before")
    return None if report.fault is not None else f"no fault: {report.not_checked}"


def outcome(attempt: Callable[[Path, str, dict[str, Any]], str | None], *arguments: Any) -> str | None:
    """What went wrong, exceptions included: an example may raise anything."""
    try:
        return attempt(*arguments)
    except Exception:  # noqa: BLE001 - what an example raises is what is asked for
        return traceback.format_exc()


def main(mode: str, file: Path) -> None:
    """Run every example of the file in one mode."""
    examples = json.loads(file.read_text())
    attempt = {"compile": compile_after, "flag": flag_before}.get(mode, run)

    def results() -> dict[str, str | None]:
        return {name: outcome(attempt, file.parent, name, example) for name, example in examples.items()}

    if mode == "interpret":
        with interpret():
            found = results()
    else:
        found = results()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
