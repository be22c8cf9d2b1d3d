"""A plan as a Triton candidate: readable source of `class ModelNew`, with the kernels and how they are launched.

The builtin generator calls `triton_space` for what can be tuned and `emit_triton` for the source under one choice.
Parameters are named `<step>_<what>`; every one has a default, so an empty choice gives a good first guess for H200.
"""

from collections.abc import Mapping

from everforge.agents.builtin.module_text import head_text
from everforge.agents.builtin.plan import KernelRegion, MatmulRegion, Plan, TorchStep
from everforge.agents.builtin.triton_launch import region_source
from everforge.agents.builtin.triton_math import functions_used
from everforge.agents.builtin.triton_matmul_launch import matmul_source
from everforge.agents.builtin.triton_module import helpers_text, module_text
from everforge.agents.builtin.triton_space import Choice, is_fused, tail_of, triton_space, without_tail
from everforge.model.candidate import ParameterValue
from everforge.model.device import DeviceKind
from everforge.model.graph import TaskGraph

_DESCRIPTORS = "from triton.tools.tensor_descriptor import TensorDescriptor\n"

__all__ = ["emit_triton", "triton_space"]


def emit_triton(plan: Plan, graph: TaskGraph, parameters: Mapping[str, ParameterValue], device: DeviceKind) -> str:
    """Source of a candidate for `plan` under the chosen `parameters`; what is missing takes its default.

    `parameters["precision"]` is the compute precision of matrix products (fp32, tf32, bf16 or fp16), fp32 if absent.
    """
    choice = Choice.of(plan, device, parameters)
    kernels = "".join(_step_source(step, choice) for step in choice.plan.steps if not isinstance(step, TorchStep))
    module = module_text(graph, choice)
    functions = "".join(functions_used(kernels))
    text = _head(plan, kernels) + functions + helpers_text(module, kernels) + kernels + module
    return text


def _step_source(step: KernelRegion | MatmulRegion, choice: Choice) -> str:
    """Kernels and launchers of one step."""
    if isinstance(step, KernelRegion):
        return region_source(step, choice)
    tail = region_source(tail_of(step), choice) if step.epilogue and not is_fused(step, choice) else ""
    if choice.text(f"{step.name}_kernel") == "torch":
        return tail
    return matmul_source(step if is_fused(step, choice) else without_tail(step), choice) + tail


def _head(plan: Plan, kernels: str) -> str:
    """Docstring with the steps, and the imports that are needed."""
    descriptors = _DESCRIPTORS if "TensorDescriptor" in kernels else ""
    cached = "import functools\n\n" if "_multiprocessors(" in kernels else ""
    imports = "import torch\nimport triton\nimport triton.language as tl\nfrom torch import nn\n"
    return head_text(plan) + cached + imports + descriptors
