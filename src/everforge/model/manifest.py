"""The KernelOptimization object: what a user applies to a cluster or hands to `everforge run`.

The same model validates both, with the same messages. No floats in the API: speedups and dollars are
strings with a pattern, as the Kubernetes API conventions ask.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from everforge.model.base import ApiRecord
from everforge.model.budget import Budget
from everforge.model.candidate import GeneratorKind
from everforge.model.precision import Precision
from everforge.model.task import ConstantValue, InputContract, Mode, Variant

API_VERSION = "everforge.dev/v1alpha1"
KIND = "KernelOptimization"

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Decimal = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,4})?$")]


class ConfigMapKey(ApiRecord):
    """A key of a ConfigMap in the object's namespace; on a workstation, of one in the same file."""

    name: str
    key: str


class GitSource(ApiRecord):
    """A file of a git repository at one commit."""

    url: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    path: str


class InputsSpec(ApiRecord):
    """What a kernel must bear beside the inputs of get_inputs(): forms that PyTorch itself takes."""

    strided: bool = Field(True, description="Inputs may be views: transposed in memory, or at an odd offset")
    scales: Annotated[list[Decimal], Field(max_length=8)] = Field(
        ["0.01", "32"], description="Floating-point inputs are also tried times these; unless set, 0.01 and 32"
    )
    empty_batch: bool = Field(False, description="The first dimension may be 0")

    @field_validator("scales")
    @classmethod
    def _no_scale_is_zero(cls, scales: list[str]) -> list[str]:
        if any(float(scale) == 0 for scale in scales):
            raise ValueError("a scale of 0 would make every input the same; use one above 0")
        return scales

    def resolved(self) -> InputContract:
        """The contract as runners know it."""
        scales = tuple(float(scale) for scale in self.scales)
        return InputContract(strided=self.strided, scales=scales, empty_batch=self.empty_batch)


class TaskSource(ApiRecord):
    """Where the PyTorch reference comes from: exactly one of inline, configMap, git and oci."""

    inline: str | None = Field(None, max_length=65536, description="The task file itself, up to 64 KiB")
    config_map: ConfigMapKey | None = None
    git: GitSource | None = None
    oci: Annotated[str, Field(pattern=r"@sha256:[0-9a-f]{64}$")] | None = Field(
        None, description="Image reference pinned by digest"
    )
    mode: Mode = Mode.EVAL
    trainable: bool = Field(False, description="Parameters may change between calls")
    inputs: InputsSpec = InputsSpec()
    derive_held_out: bool = Field(True, description="Sizes of the harness's own are tried, too, and shown to nobody")

    @model_validator(mode="after")
    def _exactly_one_source(self) -> "TaskSource":
        given = [name for name in ("inline", "config_map", "git", "oci") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of inline, configMap, git, oci must be set, got {len(given)}")
        return self


class VariantSpec(ApiRecord):
    """Overrides of the task file's module-level constants: one set of shapes."""

    name: DnsLabel
    constants: dict[str, ConstantValue] = Field(default_factory=dict)
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    held_out: bool = Field(False, description="Never shown to a generator; gates champions only")

    def resolved(self) -> Variant:
        """The variant as runners know it."""
        return Variant(name=self.name, constants=self.constants, weight=float(self.weight), held_out=self.held_out)


class Target(ApiRecord):
    """A device pool the kernel must be fast on; on a workstation its name is a device: cpu, cuda, xpu."""

    device_pool: DnsLabel
    target_speedup: Decimal | None = Field(None, description='Stop when reached, such as "1.5"')


class LlmSpec(ApiRecord):
    """The model that writes candidates."""

    model: str = Field(max_length=128, description="LiteLLM model name")
    api_base: str | None = None
    secret_name: str | None = Field(None, description="Secret whose key `api-key` holds the key; cluster only")
    max_tokens: Annotated[int, Field(ge=256, le=131072)] = 8192
    input_dollars_per_million: Decimal | None = Field(None, description="Price, where LiteLLM knows none")
    output_dollars_per_million: Decimal | None = Field(None, description="Price, where LiteLLM knows none")


class BudgetSpec(ApiRecord):
    """What the campaign of one target may use; absent is no limit."""

    trials: Annotated[int, Field(ge=1, le=10000)] = 40
    seconds: Annotated[int, Field(ge=1)] | None = None
    device_seconds: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=0)] | None = None
    dollars: Decimal | None = None

    def resolved(self) -> Budget:
        """The budget as campaigns know it."""
        return Budget(
            trials=self.trials,
            seconds=self.seconds,
            device_seconds=self.device_seconds,
            tokens=self.tokens,
            dollars=None if self.dollars is None else float(self.dollars),
        )


class Retention(ApiRecord):
    """What is cleaned up after the end."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] = 3600


class KernelOptimizationSpec(ApiRecord):
    """What is to be made fast, on what, and at what cost."""

    task: TaskSource
    variants: Annotated[list[VariantSpec], Field(min_length=1, max_length=32)] = [VariantSpec(name="default")]
    precision: Precision = Precision.FP32
    targets: Annotated[list[Target], Field(min_length=1, max_length=8)]
    generators: Annotated[list[Literal["builtin", "llm"]], Field(min_length=1, max_length=2)] = ["builtin"]
    llm: LlmSpec | None = None
    budget: BudgetSpec = BudgetSpec()
    suspend: bool = False
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    queue_name: DnsLabel | None = Field(None, description="Kueue LocalQueue")
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _parts_agree(self) -> "KernelOptimizationSpec":
        if GeneratorKind.LLM in self.generators and self.llm is None:
            raise ValueError("generators lists llm, so llm.model must be set")
        for field, names in (
            ("variants", [variant.name for variant in self.variants]),
            ("targets", [target.device_pool for target in self.targets]),
            ("generators", list(self.generators)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{field} must not repeat a name, got {names}")
        if all(variant.held_out for variant in self.variants):
            raise ValueError("at least one variant must not be heldOut: generators need a shape to work on")
        return self


class Metadata(ApiRecord):
    """The part of Kubernetes object metadata Everforge reads; labels and annotations pass through."""

    name: Annotated[DnsLabel, Field(max_length=40)]
    namespace: DnsLabel = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class KernelOptimization(ApiRecord):
    """Find a faster kernel for a PyTorch reference, prove it, and keep it."""

    api_version: Literal["everforge.dev/v1alpha1"]
    kind: Literal["KernelOptimization"]
    metadata: Metadata
    spec: KernelOptimizationSpec
