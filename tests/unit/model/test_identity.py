"""Digests and ids: what they depend on, and that nobody changes them by accident.

Stores, resume and provenance find records by these. If a pinned value here changes, every campaign recorded
so far is orphaned: say so in CHANGELOG.md, and raise SCHEMA_VERSION.
"""

from typing import Any

import pytest

from everforge.model.base import digest_of
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignSpec, ModelSettings
from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.task import Mode, TaskSpec, Variant
from everforge.model.trial import Purpose, trial_id_of

TASK = TaskSpec(
    name="softmax",
    source="class Model: ...\n",
    variants=(
        Variant(name="decode", constants={"batch_size": 1, "scale": 0.5, "causal": True}),
        Variant(name="prefill", weight=2.0, held_out=True),
    ),
    precision=Precision.BF16,
)
CAMPAIGN = CampaignSpec(name="nightly", task=TASK, device=DeviceKind.CPU, budget=Budget(trials=10))


def test_pinned_identities_have_not_moved() -> None:
    candidate = Candidate(source="class ModelNew: ...\n", language=Language.CPP, generator=GeneratorKind.LLM)
    assert TASK.digest == "sha256:fe342bb77b7bddc3035840cd81efe4f71f83d5227bff8413c85d6fca680dea55"
    assert CAMPAIGN.campaign_id == "d20c627d706dc606"
    assert candidate.digest == "sha256:8369080354365b49c3cbedbbdaed878276d72cca646ac442552c2217e95cddd7"
    assert trial_id_of(CAMPAIGN.campaign_id, 3, Purpose.CHAMPION, candidate.digest) == "6e3c5fea65c622b25eaf70e5"


def test_digest_is_the_hash_of_the_text_itself() -> None:
    assert digest_of("") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of({}) == digest_of("{}")


def test_task_keeps_its_identity_under_another_name() -> None:
    assert TASK.model_copy(update={"name": "other"}).digest == TASK.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "class Model: pass\n"},
        {"variants": (Variant(name="decode"),)},
        {"precision": Precision.FP32},
        {"mode": Mode.TRAIN},
        {"trainable": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_anything_that_is_measured_makes_another_task(changed: dict[str, Any]) -> None:
    assert TASK.model_copy(update=changed).digest != TASK.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"budget": Budget(trials=99)},
        {"generators": (GeneratorKind.LLM,)},
        {"model": ModelSettings(model="openai/gpt")},
        {"target_speedup": 2.0},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_campaign_resumes_under_another_budget_generator_model_or_target(changed: dict[str, Any]) -> None:
    assert CAMPAIGN.model_copy(update=changed).campaign_id == CAMPAIGN.campaign_id


@pytest.mark.parametrize(
    "changed",
    [{"name": "weekly"}, {"task": TASK.model_copy(update={"trainable": True})}, {"device": DeviceKind.CUDA}],
    ids=lambda changed: next(iter(changed)),
)
def test_another_name_task_or_device_is_another_campaign(changed: dict[str, Any]) -> None:
    assert CAMPAIGN.model_copy(update=changed).campaign_id != CAMPAIGN.campaign_id


def test_trial_id_tells_campaigns_numbers_purposes_and_candidates_apart() -> None:
    ids = {
        trial_id_of(campaign, number, purpose, candidate)
        for campaign in ("a", "b")
        for number in (0, 1)
        for purpose in Purpose
        for candidate in ("sha256:0", "sha256:1")
    }
    assert len(ids) == 2 * 2 * len(Purpose) * 2
