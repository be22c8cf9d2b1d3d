"""A candidate: source text that claims to compute a task on a device, and where it came from."""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record, digest_of
from everforge.model.lineage import Lineage

ParameterValue = bool | int | float | str


class GeneratorKind(StrEnum):
    """Who proposed a candidate."""

    BUILTIN = "builtin"
    LLM = "llm"
    USER = "user"


class Language(StrEnum):
    """What the kernel is written in; decides how it is compiled and which gate applies off the device."""

    PYTORCH = "pytorch"
    CPP = "cpp"
    TRITON = "triton"
    CUDA = "cuda"
    SYCL = "sycl"


class Candidate(Record):
    """Source of `class ModelNew` and its provenance."""

    source: str
    language: Language
    generator: GeneratorKind
    model: str | None = Field(None, description="LiteLLM model that wrote it, None if no model did")
    strategy: str = Field("", description="What the generator was trying, in a few words")
    parameters: dict[str, ParameterValue] = Field(default_factory=dict, description="Tuned constants")
    rewrites: tuple[str, ...] = Field((), description="Algebraic shortcuts the generator declares")
    parent: str | None = Field(None, description="Trial id this candidate was derived from")
    lineage: Lineage | None = Field(None, description="The ask of a search policy it answers, None if none did")

    @property
    def digest(self) -> str:
        """Identity of the candidate: its source text."""
        return digest_of(self.source)


def language_of(source: str) -> Language:
    """The language a source is written in, by what it calls upon."""
    if "triton.jit" in source or "import triton" in source:
        return Language.TRITON
    if "cuda_sources" in source or "__global__" in source:
        return Language.CUDA
    if "sycl_sources" in source or "sycl::" in source:
        return Language.SYCL
    if "cpp_sources" in source or "cpp_extension" in source:
        return Language.CPP
    return Language.PYTORCH
