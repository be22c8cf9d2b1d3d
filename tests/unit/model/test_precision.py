"""Which precisions a policy allows, and how far apart their numbers are."""

import pytest

from everforge.model.precision import Precision

ALLOWED = {
    Precision.FP32: ["fp32"],
    Precision.TF32: ["fp32", "tf32"],
    Precision.FP16: ["fp32", "tf32", "fp16"],
    Precision.BF16: ["fp32", "tf32", "bf16"],
}


@pytest.mark.parametrize("policy", Precision)
def test_policy_allows_itself_and_what_is_above_it_highest_first(policy: Precision) -> None:
    assert list(policy.allowed) == ALLOWED[policy]


@pytest.mark.parametrize("policy", Precision)
def test_policy_is_the_coarsest_precision_it_allows(policy: Precision) -> None:
    assert policy.epsilon == max(precision.epsilon for precision in policy.allowed)


def test_half_precisions_do_not_allow_each_other() -> None:
    assert Precision.BF16 not in Precision.FP16.allowed
    assert Precision.FP16 not in Precision.BF16.allowed


def test_epsilon_is_the_distance_from_one_to_the_next_number() -> None:
    assert [precision.epsilon for precision in Precision] == [2.0**-23, 2.0**-10, 2.0**-10, 2.0**-7]
