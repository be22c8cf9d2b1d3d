"""The KernelOptimization object: what a user applies to a cluster or hands to `everforge run`.

The same model validates both, with the same messages; `custom_resource.py` writes the cluster's schema from it. No
floats in the API: speedups and dollars are strings with a pattern, as the Kubernetes API conventions ask.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from everforge.model.base import ApiRecord, Rule
from everforge.model.budget import Budget
from everforge.model.candidate import GeneratorKind
from everforge.model.kopt_status import BY_POOL, MAX_TARGETS, KernelOptimizationStatus
from everforge.model.metadata import Metadata
from everforge.model.precision import Precision
from everforge.model.scalars import (
    MAX_INTEGER,
    Commit,
    ConfigKey,
    Decimal,
    DnsLabel,
    DnsSubdomain,
    Fraction,
    PinnedImage,
    PositiveCount,
)
from everforge.model.search_settings import Plateau, PolicyKind, SearchSettings
from everforge.model.task import InputContract, Mode, Variant, constant_from_text

API_VERSION = "everforge.dev/v1alpha1"
KIND = "KernelOptimization"
MAX_INLINE_BYTES = 65536
BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
UNIQUE = {"x-kubernetes-list-type": "set"}


class ConfigMapKey(ApiRecord):
    """A key of a ConfigMap in the object's namespace; on a workstation, of one in the same file."""

    name: DnsSubdomain = Field(description="Name of the ConfigMap")
    key: ConfigKey = Field(description="Its key, such as task.py")


class GitSource(ApiRecord):
    """A file of a git repository at one commit."""

    url: Annotated[str, Field(min_length=1, max_length=512)] = Field(description="Where git fetches from")
    commit: Commit = Field(description="Full commit, so that the task cannot change")
    path: Annotated[str, Field(min_length=1, max_length=512)] = Field(description="The task file in the repository")


class InputsSpec(ApiRecord):
    """What a kernel must bear beside the inputs of get_inputs(): forms that PyTorch itself takes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.scales.all(scale, scale.matches('[1-9]'))",
            message="a scale of 0 would make every input the same; use one above 0",
            twin="_no_scale_is_zero",
            field="scales",
        ),
    )

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

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="[has(self.inline), has(self.configMap), has(self.git), has(self.oci)].filter(set, set).size() == 1",
            message="exactly one of inline, configMap, git, oci must be set",
            twin="_exactly_one_source",
        ),
        Rule(
            cel="!has(self.inline) || size(bytes(self.inline)) <= 65536",
            message="inline takes 64 KiB at most; put a longer task into a ConfigMap or a repository",
            twin="_inline_is_short",
            field="inline",
        ),
        Rule(
            cel="!has(self.secretName) || has(self.git) || has(self.oci)",
            message="secretName is the login for git or oci; the task comes from neither",
            twin="_login_is_for_a_server",
        ),
    )

    inline: str | None = Field(None, max_length=MAX_INLINE_BYTES, description="The task file itself, up to 64 KiB")
    config_map: ConfigMapKey | None = Field(None, description="The task file is in a ConfigMap")
    git: GitSource | None = Field(None, description="The task file is in a git repository")
    oci: PinnedImage | None = Field(None, description="The task file is an artifact in a registry, pinned by digest")
    secret_name: DnsSubdomain | None = Field(
        None,
        description="Secret whose keys `task-username` and `task-password` open a private repository or registry over "
        "https; cluster only, where agents mount it and runners never do",
    )
    mode: Mode = Field(Mode.EVAL, description="How the reference is run: an inference fleet runs eval")
    trainable: bool = Field(False, description="Parameters may change between calls")
    inputs: InputsSpec = Field(InputsSpec(), description="What a kernel must bear beside the inputs of get_inputs()")
    derive_held_out: bool = Field(True, description="Sizes of the harness's own are tried, too, and shown to nobody")

    @field_validator("inline")
    @classmethod
    def _inline_is_short(cls, inline: str | None) -> str | None:
        if inline is not None and len(inline.encode("utf-8", "surrogatepass")) > MAX_INLINE_BYTES:
            raise ValueError("inline takes 64 KiB at most; put a longer task into a ConfigMap or a repository")
        return inline

    @model_validator(mode="after")
    def _exactly_one_source(self) -> Self:
        given = [name for name in ("inline", "config_map", "git", "oci") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of inline, configMap, git, oci must be set, got {len(given)}")
        return self

    @model_validator(mode="after")
    def _login_is_for_a_server(self) -> Self:
        if self.secret_name is not None and self.git is None and self.oci is None:
            raise ValueError("secretName is the login for git or oci; the task comes from neither")
        return self


def _whole_or_text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("int_or_text", "Input should be a whole number, or text in quotes")
    return value


# An API server knows no third kind of value, and no floats; text says the others.
ConstantText = Annotated[str, Field(max_length=1024)]
ConstantInteger = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Constant = Annotated[ConstantInteger | ConstantText, BeforeValidator(_whole_or_text)]


class VariantSpec(ApiRecord):
    """Overrides of the task file's module-level constants: one set of shapes."""

    name: DnsLabel = Field(description="Name of the variant in reports")
    constants: Annotated[dict[str, Constant], Field(max_length=64)] = Field(
        {},
        description='Constant to value: a whole number, or text that is read as Python reads it: "0.5", "True"; '
        "text that Python cannot read stands for itself",
    )
    weight: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="Weight in the geometric mean of speedups")
    held_out: bool = Field(False, description="Never shown to a generator; gates champions only")

    def resolved(self) -> Variant:
        """The variant as runners know it."""
        constants = {
            name: constant_from_text(value) if isinstance(value, str) else value
            for name, value in self.constants.items()
        }
        return Variant(name=self.name, constants=constants, weight=float(self.weight), held_out=self.held_out)


class Target(ApiRecord):
    """A device pool the kernel must be fast on; on a workstation its name is a device: cpu, cuda, xpu."""

    device_pool: DnsLabel = Field(description="Name of a DevicePool; on a workstation a device: cpu, cuda, xpu")
    target_speedup: Decimal | None = Field(None, description='Stop when reached, such as "1.5"')


class LlmSpec(ApiRecord):
    """The model that writes candidates."""

    model: str = Field(min_length=1, max_length=128, description="LiteLLM model name")
    api_base: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Base URL of an OpenAI-compatible endpoint"
    )
    secret_name: DnsSubdomain | None = Field(None, description="Secret whose key `api-key` holds the key; cluster only")
    max_tokens: Annotated[int, Field(ge=256, le=131072)] = Field(8192, description="Longest reply")
    input_dollars_per_million: Decimal | None = Field(None, description="Price, where LiteLLM knows none")
    output_dollars_per_million: Decimal | None = Field(None, description="Price, where LiteLLM knows none")


class BudgetSpec(ApiRecord):
    """What the campaign of one target may use; absent is no limit."""

    trials: Annotated[int, Field(ge=1, le=10000)] = Field(40, description="Candidates evaluated")
    seconds: PositiveCount | None = Field(None, description="Wall time of the campaign")
    device_seconds: PositiveCount | None = Field(None, description="Time a device is held by evaluations")
    tokens: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = Field(
        None, description="LLM tokens, prompt and completion"
    )
    dollars: Decimal | None = Field(None, description='LLM cost, such as "2.50"')

    def resolved(self) -> Budget:
        """The budget as campaigns know it."""
        return Budget(
            trials=self.trials,
            seconds=self.seconds,
            device_seconds=self.device_seconds,
            tokens=self.tokens,
            dollars=None if self.dollars is None else float(self.dollars),
        )


class PlateauSpec(ApiRecord):
    """Stop when the best speedup grows no longer."""

    trials: Annotated[int, Field(ge=1, le=10000)] = Field(
        20, description="Judged candidates in a row without that much gained"
    )
    percent: Annotated[int, Field(ge=1, le=100)] = Field(1, description="Growth of the best speedup that still counts")


class SearchSpec(ApiRecord):
    """How the model is asked, and when there is good reason to stop; absent stop rules do not apply."""

    policy: PolicyKind = Field(PolicyKind.GREEDY, description="Who decides what the model is asked next")
    seed: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = Field(0, description="Seed of the policy's own draws")
    plateau: PlateauSpec | None = Field(None, description="Stop when the best speedup grows no longer")
    sol_fraction: Fraction | None = Field(
        None, description='Stop once a champion is confirmed at this share of the roofline\'s rate, such as "0.9"'
    )

    def resolved(self) -> SearchSettings:
        """The settings as campaigns know them."""
        plateau = self.plateau
        return SearchSettings(
            policy=self.policy,
            seed=self.seed,
            plateau=None if plateau is None else Plateau(trials=plateau.trials, percent=float(plateau.percent)),
            sol_fraction=None if self.sol_fraction is None else float(self.sol_fraction),
        )


class Retention(ApiRecord):
    """What is cleaned up after the end."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2147483647)] = Field(
        3600, description="How long Jobs and their logs stay; results are in MLflow"
    )


# What decides which trials are comparable; every other field may be changed while the campaign runs.
_IDENTITY = ("task", "variants", "precision")


class KernelOptimizationSpec(ApiRecord):
    """What is to be made fast, on what, and at what cost."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.generators.exists(kind, kind == 'llm') || has(self.llm)",
            message="generators lists llm, so llm.model must be set",
            twin="_llm_has_a_model",
        ),
        Rule(
            cel="self.variants.exists(variant, !variant.heldOut)",
            message="at least one variant must not be heldOut: generators need a shape to work on",
            twin="_one_variant_is_shown",
        ),
        *(
            Rule(
                cel=f"self.{field} == oldSelf.{field}",
                message=f"{field} is immutable, because recorded trials belong to it: create another "
                "KernelOptimization",
                field=field,
            )
            for field in _IDENTITY
        ),
        Rule(
            cel="oldSelf.targets.all(old, self.targets.exists(new, new.devicePool == old.devicePool))",
            message="targets may be added but not removed: create another KernelOptimization",
            field="targets",
        ),
        Rule(
            cel="self.suspend || oldSelf.suspend || (has(self.queueName) == has(oldSelf.queueName) && "
            "(!has(self.queueName) || self.queueName == oldSelf.queueName))",
            message="queueName may change only while suspended: set suspend first",
            field="queueName",
        ),
    )

    task: TaskSource = Field(description="Where the PyTorch reference comes from")
    variants: Annotated[list[VariantSpec], Field(min_length=1, max_length=32, json_schema_extra=dict(BY_NAME))] = Field(
        [VariantSpec(name="default")], description="Sets of shapes that the kernel must be right and fast on"
    )
    precision: Precision = Field(
        Precision.FP32, description="Lowest precision of multiplications that a candidate may use"
    )
    targets: Annotated[list[Target], Field(min_length=1, max_length=MAX_TARGETS, json_schema_extra=dict(BY_POOL))] = (
        Field(description="Device pools the kernel must be fast on; each gets a campaign with the whole budget")
    )
    generators: Annotated[
        list[Literal["builtin", "llm"]], Field(min_length=1, max_length=2, json_schema_extra=dict(UNIQUE))
    ] = Field(["builtin"], description="Who proposes candidates; builtin needs no LLM")
    llm: LlmSpec | None = Field(None, description="The model that writes candidates")
    budget: BudgetSpec = Field(BudgetSpec(), description="What the campaign of one target may use")
    search: SearchSpec = Field(SearchSpec(), description="How the model is asked, and when to stop for good reason")
    suspend: bool = Field(False, description="Stop, keep what was found, and go on when this is false again")
    priority: Annotated[int, Field(ge=-1000, le=1000)] = Field(
        0, description="Higher gets runners first; among equals, namespaces take turns"
    )
    queue_name: DnsLabel | None = Field(None, description="Kueue LocalQueue")
    retention: Retention = Field(Retention(), description="What is cleaned up after the end")

    @model_validator(mode="after")
    def _llm_has_a_model(self) -> Self:
        if GeneratorKind.LLM in self.generators and self.llm is None:
            raise ValueError("generators lists llm, so llm.model must be set")
        return self

    @model_validator(mode="after")
    def _no_name_is_repeated(self) -> Self:
        for field, names in (
            ("variants", [variant.name for variant in self.variants]),
            ("targets", [target.device_pool for target in self.targets]),
            ("generators", list(self.generators)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{field} must not repeat a name, got {names}")
        return self

    @model_validator(mode="after")
    def _one_variant_is_shown(self) -> Self:
        if all(variant.held_out for variant in self.variants):
            raise ValueError("at least one variant must not be heldOut: generators need a shape to work on")
        return self


class KernelOptimization(ApiRecord):
    """Find a faster kernel for a PyTorch reference, prove it, and keep it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(oldSelf.status) || !has(oldSelf.status.conditions) || oldSelf.status.conditions.all(condition, "
            "condition.type != 'Succeeded' || condition.status == 'Unknown') || self.spec == oldSelf.spec",
            message="it has ended, and nothing follows from another spec: create another KernelOptimization",
            field="spec",
        ),
    )

    api_version: Literal["everforge.dev/v1alpha1"]
    kind: Literal["KernelOptimization"]
    metadata: Metadata
    spec: KernelOptimizationSpec
    status: KernelOptimizationStatus | None = Field(None, description="Written by the operator")
