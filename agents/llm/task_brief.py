"""What the model is told of task and device: source, shown variants, baselines, peaks, rules of precision.

Held-out variants are left out whole: names, sizes, times, and any note that could give them away.
"""

import re

from everforge.agents.llm.quote import inline, quoted, shortened
from everforge.model.graph import TaskGraph, TensorMeta
from everforge.model.session import TaskFacts, VariantFacts
from everforge.model.task import InputContract, Mode, TaskSpec, Variant
from everforge.search.generator import SearchContext

TASK_SOURCE_CHARS_LIMIT = 40_000
FACTS_CHARS_LIMIT = 8_000
_TENSORS_SHOWN = 24


def task_section(spec: TaskSpec) -> str:
    """The reference and what a candidate may do with it."""
    rules = [
        f"Precision policy: {spec.precision}; multiplications may use "
        f"{', '.join(spec.precision.allowed)}, accumulate in fp32 or better.",
        f"The model runs in {'evaluation' if spec.mode is Mode.EVAL else 'training'} mode.",
        "Parameters may change between calls: prepack nothing."
        if spec.trainable
        else "Parameters are frozen after loading, though other ones may be loaded: you may prepack them on the "
        "first call, and again after a load.",
        *_input_rules(spec.inputs),
    ]
    source = quoted(spec.source, TASK_SOURCE_CHARS_LIMIT, "python")
    return "\n\n".join(["## The task", source, "\n".join(f"- {rule}" for rule in rules)])


def _input_rules(contract: InputContract) -> list[str]:
    """What inputs a candidate must bear beside those of the task's get_inputs()."""
    rules = ["Inputs have other values in every call, and other sizes than those listed where those vary."]
    if contract.strided:
        rules.append("Inputs may be views: not contiguous, transposed in memory, at any offset, aligned to no vector.")
    if contract.scales:
        scales = ", ".join(f"{scale:g}" for scale in contract.scales)
        rules.append(f"Floating-point inputs may be scaled: they are also tried times {scales}.")
    if contract.empty_batch:
        rules.append("The first dimension may be 0.")
    return rules


def device_section(context: SearchContext) -> str:
    """The device, its measured peaks, and for every shown variant its sizes, baselines and roofline floor."""
    lines = [*_device_lines(context.facts), ""]
    shown = context.shown_variants()
    constants = {variant.name: variant for variant in context.spec.task.variants if not variant.held_out}
    for variant in shown:
        lines += _variant_lines(variant, constants.get(variant.name))
    if shown and isinstance(shown[0].graph, TaskGraph):
        lines += ["", *_tensor_lines(shown[0].graph)]
    lines += [f"- note: {inline(note, 300)}" for note in _harmless_notes(context)]
    if context.spec.target_speedup is not None:
        lines.append(f"- target: {context.spec.target_speedup:g} times the fastest baseline")
    return "## The device and the times to beat\n\n" + shortened("\n".join(lines), FACTS_CHARS_LIMIT)


def _device_lines(facts: TaskFacts) -> list[str]:
    place = facts.environment
    tools = ", ".join(f"{tool} {version}" for tool, version in sorted(place.toolchain.items()))
    rates = ", ".join(f"{name} {rate / 1e9:.4g} GFLOP/s" for name, rate in facts.peaks.flops_per_s.items())
    memory = "" if place.memory_bytes is None else f", {place.memory_bytes / 2**30:.0f} GiB"
    return [
        f"- device: {place.device}, {inline(place.device_name, 100)}, {place.architecture}{memory}; "
        f"{place.cores} CPU cores",
        f"- toolchain: {inline(tools, 400)}",
        f"- measured peaks: {facts.peaks.bandwidth_bytes_per_s / 1e9:.4g} GB/s; {rates or 'no matrix rate'}",
    ]


def _variant_lines(facts: VariantFacts, variant: Variant | None) -> list[str]:
    constants = {} if variant is None else variant.constants
    sizes = ", ".join(f"{name} = {value!r}" for name, value in constants.items()) or "as in the task file"
    weight = "" if variant is None or variant.weight == 1.0 else f", weight {variant.weight:g}"
    times = ", ".join(f"{name} {time_us:.1f} µs" for name, time_us in sorted(facts.baselines_us().items()))
    floor = "" if facts.floor_us is None else f"; roofline floor {facts.floor_us:.1f} µs"
    return [
        f"- variant {facts.name} ({inline(sizes, 400)}{weight}): {times}; to beat: {facts.fastest}{floor}",
    ]


def _tensor_lines(graph: TaskGraph) -> list[str]:
    """Inputs, parameters and buffers of the reference under one variant."""
    leaves = [node for node in graph.nodes if node.op in ("input", "parameter", "buffer") and node.outputs]
    shown = leaves[:_TENSORS_SHOWN]
    lines = [f"- {node.op} {node.target or node.id}: {_meta(node.outputs[0])}" for node in shown]
    if len(leaves) > _TENSORS_SHOWN:
        lines.append(f"- and {len(leaves) - _TENSORS_SHOWN} more tensors")
    work = f"- work: {graph.flops:.3g} FLOPs in matrix products, {graph.bytes:.3g} bytes to move at least"
    return [f"Tensors of variant {graph.variant}:", *lines, work]


def _meta(meta: TensorMeta) -> str:
    return f"{meta.dtype}[{', '.join(map(str, meta.shape))}], strides ({', '.join(map(str, meta.strides))})"


def _harmless_notes(context: SearchContext) -> list[str]:
    """Notes that neither name a held-out variant nor hold a number that only a held-out variant has."""
    secrets = _held_out_words(context)
    words = [(note, set(re.findall(r"[\w.-]+", note))) for note in context.facts.notes]
    return [note for note, found in words if not found & secrets]


def _held_out_words(context: SearchContext) -> set[str]:
    spec = context.spec
    shown = [each for each in spec.task.variants if not each.held_out]
    hidden = [each for each in spec.task.variants if each.held_out]
    names = {each.name for each in hidden} | {each.name for each in context.facts.variants if each.held_out}
    return names | (_sizes(hidden) - _sizes(shown))


def _sizes(variants: list[Variant]) -> set[str]:
    return {str(value) for each in variants for value in each.constants.values()}
