import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Purpose
from everforge.model.verdict import Verdict
from everforge.telemetry.metrics import PREFIX, TABLE, CampaignMetrics, Type
from everforge.testing import samples

# Labels whose values cannot grow with the number of trials.
BOUNDED_LABELS = {"verdict", "device", "generator", "stage", "model", "direction"}


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return CampaignMetrics(registry)


def test_what_is_exposed_is_what_the_table_says(metrics, registry):
    exposed = {
        family.name: family
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        if not family.name.endswith("_created")
    }
    # The parser leaves the suffix of counters to their samples.
    assert exposed.keys() == {metric.name.removesuffix("_total") for metric in TABLE}
    for metric in TABLE:
        family = exposed[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.type, metric.help)


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric):
    assert metric.name.startswith(PREFIX)
    assert metric.name.endswith("_total") == (metric.type is Type.COUNTER)
    assert set(metric.labels) <= BOUNDED_LABELS
    assert metric.help


def test_trial_is_counted_by_verdict_device_and_generator(metrics, registry):
    metrics.trial_finished(samples.trial(0), reused=False)
    metrics.trial_finished(samples.trial(1), reused=False)
    metrics.trial_finished(samples.trial(2, verdict=Verdict.CRASH), reused=False)
    labels = {"device": "cpu", "generator": "builtin", "model": ""}
    assert registry.get_sample_value("everforge_trials_total", {"verdict": "faster", **labels}) == 2
    assert registry.get_sample_value("everforge_trials_total", {"verdict": "crash", **labels}) == 1
    assert registry.get_sample_value("everforge_device_seconds_total", {"device": "cpu"}) == 3.5 + 3.5 + 0.5


def test_trial_of_a_model_is_counted_under_its_name_also_when_re_measured(metrics, registry):
    proposed = samples.candidate(generator=GeneratorKind.LLM).model_copy(update={"model": "openai/gpt-4.1"})
    metrics.trial_finished(samples.trial(0, proposed=proposed, said=samples.conversation()), reused=False)
    again = samples.trial(1, verdict=Verdict.TAMPERED, purpose=Purpose.CHAMPION, proposed=proposed)
    metrics.trial_finished(again, reused=False)
    labels = {"device": "cpu", "generator": "llm", "model": "openai/gpt-4.1"}
    for verdict in ("faster", "tampered"):
        assert registry.get_sample_value("everforge_trials_total", {"verdict": verdict, **labels}) == 1


def test_every_stage_of_a_trial_is_observed(metrics, registry):
    trial = samples.trial()
    metrics.trial_finished(trial, reused=False)
    for stage, seconds in trial.evaluation.stages.model_dump().items():
        labels = {"stage": stage, "device": "cpu"}
        assert registry.get_sample_value("everforge_trial_seconds_sum", labels) == seconds
        assert registry.get_sample_value("everforge_trial_seconds_count", labels) == 1


def test_reused_evaluation_takes_no_time_again(metrics, registry):
    metrics.trial_finished(samples.trial(), reused=True)
    labels = {"device": "cpu", "verdict": "faster", "generator": "builtin", "model": ""}
    assert registry.get_sample_value("everforge_trials_total", labels) == 1
    assert registry.get_sample_value("everforge_device_seconds_total", {"device": "cpu"}) is None
    assert registry.get_sample_value("everforge_trial_seconds_count", {"stage": "verify", "device": "cpu"}) is None


def test_trial_does_not_count_its_conversation_again(metrics, registry):
    proposed = samples.candidate(generator=GeneratorKind.LLM)
    metrics.trial_finished(samples.trial(proposed=proposed, said=samples.conversation()), reused=False)
    spent = {"model": "openai/gpt-4.1", "direction": "prompt"}
    assert registry.get_sample_value("everforge_llm_tokens_total", spent) is None


def test_tokens_and_dollars_of_conversations_are_counted(metrics, registry):
    said = samples.conversation()
    metrics.model_replied(said)
    metrics.model_replied(said.model_copy(update={"dollars": None}))
    model = {"model": "openai/gpt-4.1"}
    tokens = [
        registry.get_sample_value("everforge_llm_tokens_total", {**model, "direction": direction})
        for direction in ("prompt", "completion")
    ]
    assert tokens == [2400, 1600]
    assert registry.get_sample_value("everforge_llm_dollars_total", model) == 0.0088


def test_outbox_and_store_failures_are_shown(metrics, registry):
    metrics.outbox_waits(7)
    metrics.outbox_waits(2)
    metrics.store_write_failed()
    assert registry.get_sample_value("everforge_outbox_depth") == 2
    assert registry.get_sample_value("everforge_store_write_failures_total") == 1


def test_two_registries_count_apart(metrics, registry):
    CampaignMetrics(CollectorRegistry()).outbox_waits(3)
    assert registry.get_sample_value("everforge_outbox_depth") == 0
