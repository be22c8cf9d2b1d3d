"""A task as a runner receives it: resolved source, variants and policy; nothing left to look up."""

import ast
import math
import warnings
from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from everforge.model.base import Record, digest_of
from everforge.model.precision import Precision

ConstantValue = bool | int | float | str


def constant_from_text(text: str) -> ConstantValue:
    """A constant that is given as text: numbers, booleans and quoted text as Python reads them, all else as it is."""
    try:
        with warnings.catch_warnings(action="ignore"):  # text such as 1if is odd Python, and text all the same
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value if isinstance(value, bool | int | float | str) else text


class Mode(StrEnum):
    """How the reference is run: an inference fleet runs `eval`."""

    EVAL = "eval"
    TRAIN = "train"


class Variant(Record):
    """One set of shapes: overrides of the task file's module-level constants."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
    constants: dict[str, ConstantValue] = Field(default_factory=dict)
    weight: float = Field(1.0, gt=0, description="Weight in the geometric mean of speedups")
    held_out: bool = Field(False, description="Never shown to a generator; gates champions only")


class InputContract(Record):
    """What inputs a kernel must bear beside those of get_inputs(): the forms PyTorch itself takes without a word."""

    strided: bool = Field(True, description="Inputs may be views: transposed in memory, or at an odd offset")
    scales: tuple[float, ...] = Field((0.01, 32.0), description="Floating-point inputs are also tried times these")
    empty_batch: bool = Field(False, description="The first dimension may be 0")


class TaskSpec(Record):
    """A PyTorch reference, its variants and its precision policy."""

    name: str = Field(description="Task family; the MLflow experiment carries this name")
    source: str = Field(description="Text of the task file: class Model, get_inputs(), get_init_inputs()")
    variants: tuple[Variant, ...] = Field(min_length=1)
    precision: Precision = Precision.FP32
    mode: Mode = Mode.EVAL
    trainable: bool = Field(False, description="Parameters may change between calls, so nothing is prepacked")

    inputs: InputContract = InputContract()
    derive_held_out: bool = Field(True, description="The runner also tries sizes of its own before naming a champion")

    @model_validator(mode="after")
    def _names_are_unique(self) -> "TaskSpec":
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variant names must be unique, got {names}")
        if all(variant.held_out for variant in self.variants):
            raise ValueError("at least one variant must not be held out: generators need a shape to work on")
        return self

    @property
    def digest(self) -> str:
        """Identity of the task: everything but its name."""
        return digest_of(self.model_dump(mode="json", exclude={"name"}))
