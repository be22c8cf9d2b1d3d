"""Whatever a trial holds, what is sent keeps to MLflow's limits, and what is shown cannot be broken out of."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils import validation

from everforge.model.campaign import CampaignRecord, CampaignSpec
from everforge.model.candidate import Candidate
from everforge.model.device import DeviceKind
from everforge.model.evaluation import DeviceReading
from everforge.model.tally import Tally
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.store import fields, pages
from everforge.testing import samples
from everforge.testing.record_strategies import records


@settings(max_examples=50)
@given(records(Trial))
def test_any_trial_keeps_to_mlflows_limits(trial):
    params = fields.trial_params(trial)
    assert len(params) <= validation.MAX_PARAMS_TAGS_PER_BATCH
    for key, value in params.items():
        validation._validate_param(key, value)
        assert "\x00" not in value
    for key, value in fields.trial_metrics(trial).items():
        validation._validate_metric(key, value, 0, 0)
    tags = fields.trial_tags(trial, "parent") | {"note": pages.trial_note(trial)}
    for key, value in tags.items():
        validation._validate_tag(key, value)
        assert "\x00" not in value


@given(records(CampaignSpec), records(CampaignRecord))
def test_any_campaign_keeps_to_mlflows_limits(spec, record):
    for key, value in fields.campaign_params(spec).items():
        validation._validate_param(key, value)
    tags = fields.campaign_tags(spec) | fields.record_tags(record) | {"note": pages.campaign_note(record)}
    for key, value in tags.items():
        validation._validate_tag(key, value)
    for key, value in fields.record_metrics(record).items():
        validation._validate_metric(key, value, 0, 0)


@given(st.text(), st.sampled_from(DeviceKind))
def test_any_task_has_a_model_name_mlflow_takes(task, device):
    name = fields.model_name_of(task, device)
    validation._validate_model_name(name)
    assert name.endswith(f"-{device}")


@pytest.mark.parametrize(("count", "longest"), [(1, 7000), (150, 5)], ids=["one long parameter", "too many parameters"])
def test_tuned_parameters_are_cut_to_what_mlflow_takes(count, longest):
    tuned = {f"block {number}": "x" * longest for number in range(count)}
    params = fields.trial_params(samples.trial(proposed=samples.candidate(parameters=tuned)))
    assert len(params) == min(count + 3, 100)
    assert len(params["parameter.block 0"]) == min(longest, 6000)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "003 faster builtin fused row reduction"),
        ({"verdict": Verdict.COMPILE_ERROR}, "003 compile_error builtin fused row reduction"),
        ({"purpose": Purpose.CHAMPION}, "003 champion faster builtin fused row reduction"),
        ({"proposed": samples.candidate(strategy="a\n b " * 20)}, "003 faster builtin a b a b a b a b a b a b a b a b"),
        ({"proposed": samples.candidate(strategy="")}, "003 faster builtin"),
    ],
    ids=["search", "bad kernel", "champion", "long strategy", "no strategy"],
)
def test_run_name_reads_as_a_sentence(changes, name):
    assert fields.trial_run_name(samples.trial(3, **changes)) == name


def test_authors_of_a_campaign_are_metrics_a_tag_and_a_table():
    tallies = (
        Tally(generator="builtin", trials_by_verdict={Verdict.FASTER: 2}, device_seconds=7.5),
        Tally(
            generator="llm",
            model="openai/gpt-4.1",
            trials_by_verdict={Verdict.FASTER: 1, Verdict.TAMPERED: 1},
            remeasured_by_verdict={Verdict.INCORRECT: 1},
            tokens=4000,
            dollars=None,
        ),
    )
    record = samples.campaign_record().model_copy(update={"by_generator": tallies})
    metrics = fields.record_metrics(record)
    assert {name: value for name, value in metrics.items() if name.startswith("by_")} == {
        "by_builtin/trials": 2,
        "by_builtin/faster": 2,
        "by_builtin/device_seconds": 7.5,
        "by_builtin/tokens": 0,
        "by_builtin/dollars": 0,
        "by_openai_gpt-4.1/trials": 2,
        "by_openai_gpt-4.1/faster": 1,
        "by_openai_gpt-4.1/tampered": 1,
        "by_openai_gpt-4.1/remeasured_incorrect": 1,
        "by_openai_gpt-4.1/device_seconds": 0,
        "by_openai_gpt-4.1/tokens": 4000,
    }
    told = "builtin: 2 faster; openai/gpt-4.1: 1 faster, 1 incorrect, 1 tampered"
    assert fields.record_tags(record)["everforge.by_generator"] == told
    page = pages.campaign_page(record)
    row = '<tr><td>openai/gpt-4.1</td><td class="number">2</td><td class="number">1</td>'
    assert row in page
    assert "unknown" in page


def test_evidence_is_a_tag_and_stands_in_the_note():
    trial = samples.trial(verdict=Verdict.TAMPERED)
    seen = ("timed outputs differ | <b>412</b>", "elapsed_time was replaced")
    judged = trial.evaluation.model_copy(update={"evidence": seen})
    caught = trial.model_copy(update={"evaluation": judged})
    assert fields.trial_tags(caught, "parent")["everforge.evidence"] == "\n".join(seen)
    assert "- seen: timed outputs differ \\| &lt;b&gt;412&lt;/b&gt;\n- seen: elapsed_time" in pages.trial_note(caught)
    assert "everforge.evidence" not in fields.trial_tags(trial, "parent")


def test_sensors_launches_and_rechecked_outputs_are_metrics_where_they_were_measured():
    trial = samples.trial()
    prefill = trial.evaluation.variants[0]
    changes = {
        "own_share": 0.87,
        "readings": (
            DeviceReading(clock_mhz=1980, temperature_c=54),
            DeviceReading(clock_mhz=1755, temperature_c=71, power_w=690, throttled_by=("power_cap",)),
        ),
        "variants": (
            prefill.model_copy(update={"speedup_by_wall": prefill.speedup, "replay_us": 19.0, "rechecked": 4}),
        ),
    }
    measured = trial.model_copy(update={"evaluation": trial.evaluation.model_copy(update=changes)})
    new = fields.trial_metrics(measured).items() - fields.trial_metrics(trial).items()
    assert dict(new) == {
        "own_share": 0.87,
        "prefill/speedup_by_wall": 1.8,
        "prefill/replay_us": 19.0,
        "prefill/rechecked": 4,
        "sensors/clock_mhz_before": 1980,
        "sensors/clock_mhz_after": 1755,
        "sensors/temperature_c_before": 54,
        "sensors/temperature_c_after": 71,
        "sensors/power_w_after": 690,
    }
    assert fields.trial_tags(measured, "parent")["everforge.throttled_by"] == "power_cap"


class TagReader(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self):
        super().__init__()
        self.tags = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)


@given(records(CampaignRecord))
def test_nothing_from_outside_becomes_an_element_of_the_page(record):
    hostile = "<script>alert(1)</script>"
    renamed = {"task": hostile + record.task, "detail": hostile, "notes": (hostile,)}
    reader = TagReader()
    reader.feed(pages.campaign_page(record.model_copy(update=renamed)))
    page = {"html", "head", "meta", "title", "style", "body"}
    content = {"h1", "h2", "p", "table", "tr", "th", "td", "ul", "li"}
    assert reader.tags <= page | content


def test_page_names_champion_baselines_and_verdicts():
    trials = (samples.trial(0), samples.trial(1, verdict=Verdict.CRASH))
    record = samples.campaign_record(trials=trials, best=samples.champion(trials[0]))
    page = pages.campaign_page(record)
    for figure in ("1.8 (1.75 to 1.85)", "compile-fp32", "900", "crash", "softmax-lse on cpu"):
        assert figure in page


def test_note_of_a_trial_keeps_its_table_whole():
    proposed = Candidate(source="x", language="cpp", generator="llm")
    trial = samples.trial(verdict=Verdict.INCORRECT, proposed=proposed)
    result = trial.evaluation.variants[0].model_copy(update={"detail": "a | b\n<b>c</b>"})
    judged = trial.evaluation.model_copy(update={"variants": (result,)})
    note = pages.trial_note(trial.model_copy(update={"evaluation": judged}))
    assert "| prefill | a \\| b &lt;b&gt;c&lt;/b&gt; | 40 | – | – | – |" in note
