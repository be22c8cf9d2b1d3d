"""A kernel and its host launcher as source; `triton_launch.py` and `triton_matmul_launch.py` are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from everforge.agents.builtin.plan import KernelRegion
from everforge.agents.builtin.triton_rows import KernelText


@dataclass(frozen=True)
class Kernel:
    """One `@triton.jit` function: pointer arguments by buffer, run-time and compile-time numbers."""

    name: str
    purpose: str
    pointers: tuple[str, ...]
    numbers: tuple[str, ...]
    constants: tuple[str, ...]
    text: KernelText

    def source(self) -> str:
        """The function's text."""
        sizes = [f"A{axis}" for axis in self.text.sizes]
        arguments = [*self.pointers, *self.numbers, *(f"{name}: tl.constexpr" for name in (*sizes, *self.constants))]
        body = "\n".join(f"    {line}" for line in self.text.body)
        return f'\n\n@triton.jit\ndef {self.name}({", ".join(arguments)}):\n    """{self.purpose}"""\n{body}\n'

    def launch(self, grid: str, values: Sequence[str], options: str) -> str:
        """The statement that launches it: `values` are the buffers, then the numbers; the rest by name."""
        sizes = [f"A{axis}={extent_text(self.text, axis)}" for axis in self.text.sizes]
        named = [*sizes, *(f"{name}={name.lower()}" for name in self.constants)]
        return f"{self.name}[{grid}]({', '.join([*values, *named, options])})"


def extent_text(text: KernelText, axis: int) -> str:
    """Extent of a merged axis, from the extents of the domain's axes."""
    return extents_product([f"d{original}" for original in text.domain.groups[axis]])


def function_text(name: str, arguments: Sequence[str], lines: Sequence[str]) -> str:
    """A host function."""
    body = "\n".join(f"    {line}" for line in lines)
    return f"\n\ndef {name}({', '.join(arguments)}):\n{body}\n"


def leave_if_none(count: str) -> list[str]:
    """The statements of a launcher that leave it where there is nothing to compute: a grid has no size 0."""
    return [f"if {count} == 0:  # an empty batch", "    return"]


def element_count(region: KernelRegion, name: str) -> str:
    """How many elements a region takes a buffer to have, from the extents of the domain's axes."""
    pooled = region.pooled_extent(name)
    return extents_product([*(f"d{axis}" for axis in region.axes_of(name)), *([str(pooled)] if pooled > 1 else [])])


def extents_product(texts: Sequence[str]) -> str:
    """The product of extents."""
    return " * ".join(texts) or "1"


def pointers(buffers: Sequence[str]) -> tuple[str, ...]:
    """A kernel's names for buffers."""
    return tuple(f"{buffer}_ptr" for buffer in buffers)


def fused_text(region: KernelRegion | None) -> str:
    """The reference's operations in a region, for a docstring."""
    return ", ".join(region.fuses if region is not None else ()) or "stores"
