"""The generator that needs no LLM: plans fused kernels from the traced graph and tunes their parameters."""
