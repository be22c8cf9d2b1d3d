"""Compute precisions, and which of them a policy allows."""

from enum import StrEnum


class Precision(StrEnum):
    """Precision of multiplications; accumulation is fp32 or better in all of them."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def epsilon(self) -> float:
        """Distance from 1 to the next number: 2 to the minus explicit mantissa bits."""
        return 2.0 ** -{"fp32": 23, "tf32": 10, "fp16": 10, "bf16": 7}[self.value]

    @property
    def allowed(self) -> tuple["Precision", ...]:
        """All precisions a candidate may use under this policy, highest first."""
        lower = () if self in (Precision.FP32, Precision.TF32) else (self,)
        tf32 = () if self is Precision.FP32 else (Precision.TF32,)
        return (Precision.FP32, *tf32, *lower)
