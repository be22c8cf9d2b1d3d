"""Makes the generators a campaign names; each is imported only when asked for (`llm` brings LiteLLM along).

Called by `agents/workstation.py` before anything is opened, so that what is missing is said early.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from everforge.clock import SystemClock
from everforge.errors import UsageError
from everforge.model.campaign import CampaignSpec
from everforge.model.candidate import GeneratorKind
from everforge.search.generator import Generator

GeneratorFactory = Callable[[CampaignSpec, Path | None], Mapping[GeneratorKind, Generator]]

# Fixed, so that the built-in generator's parameter search proposes the same candidates on every run.
SEED = 0


def build_generators(spec: CampaignSpec, api_key_file: Path | None = None) -> Mapping[GeneratorKind, Generator]:
    """The generators of `spec`, by kind. Raises UsageError for one that cannot be built."""
    return {kind: _build(kind, spec, api_key_file) for kind in spec.generators}


def _build(kind: GeneratorKind, spec: CampaignSpec, api_key_file: Path | None) -> Generator:
    if kind is GeneratorKind.BUILTIN:
        from everforge.agents.builtin.generator import BuiltinGenerator

        return BuiltinGenerator(seed=SEED)
    if kind is GeneratorKind.LLM and spec.model is not None:
        from everforge.agents.llm.api_key import ApiKeySource
        from everforge.agents.llm.generator import LlmGenerator

        generator = LlmGenerator(spec.model, ApiKeySource(file=api_key_file), SystemClock(), time.sleep)
        generator.check(spec.budget)
        return generator
    if kind is GeneratorKind.LLM:
        raise UsageError("generators: llm needs a model; set spec.llm.model in the manifest or pass --model")
    raise UsageError(f"generators: {kind} proposes nothing by itself; use builtin or llm")
