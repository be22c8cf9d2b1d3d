"""What Prometheus reads over HTTP after campaigns over fakes: the figures of the campaigns' own records."""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.workstation import Workstation
from everforge.cli.metrics_port import metering_at
from everforge.errors import UsageError
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import CampaignRecord
from everforge.model.candidate import GeneratorKind
from everforge.model.verdict import Verdict
from everforge.store.offline import OFFLINE
from everforge.telemetry.metrics import TABLE
from everforge.testing import samples
from everforge.testing.fakes import FakeClock, FakeRunner, Judgement, ScriptedGenerator

GOOD, BAD = samples.candidate("good"), samples.candidate("bad")
# The same source from a model: its verdict is known already, its tokens are spent all the same.
KNOWN, NEW = (samples.candidate(label, generator=GeneratorKind.LLM) for label in ("good", "new"))
LANDSCAPE = {
    GOOD.source: Judgement(speedup=1.4),
    BAD.source: Judgement(Verdict.INCORRECT),
    NEW.source: Judgement(Verdict.SLOWER, 0.9),
}
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scraped(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def run(station: Workstation, kinds: tuple[GeneratorKind, ...]) -> CampaignRecord:
    spec = samples.campaign_spec().model_copy(update={"budget": Budget(trials=10), "generators": kinds})
    supply = RunnerSupply(lambda: FakeRunner(LANDSCAPE, FakeClock()))
    return station.run_campaign(spec, supply)


@pytest.fixture
def station_of(tmp_path: Path) -> Callable[..., Workstation]:
    """A workstation that tracks offline, with scripted generators."""
    asked = ScriptedGenerator(
        [KNOWN, NEW], kind=GeneratorKind.LLM, spend=Spend(tokens=2000), conversation=samples.conversation()
    )
    generators = {GeneratorKind.BUILTIN: ScriptedGenerator([GOOD, BAD]), GeneratorKind.LLM: asked}

    def made(meter: object) -> Workstation:
        return Workstation(
            tmp_path / "state",
            OFFLINE,
            generators_of=lambda _spec, _key: generators,
            meter=meter,  # type: ignore[arg-type]
        )

    return made


def test_scrape_tells_what_the_campaign_did(port: int, station_of: Callable[..., Workstation]) -> None:
    with metering_at(port) as meter:
        station = station_of(meter)
        record = run(station, (GeneratorKind.BUILTIN, GeneratorKind.LLM))
        found = scraped(port)
    trials = station.store.trials(record.campaign_id)
    assert [trial.candidate.generator for trial in trials].count(GeneratorKind.LLM) == 2
    for trial in trials:
        author = {"generator": trial.candidate.generator, "model": trial.written_by or ""}
        labels = {"verdict": trial.evaluation.verdict, "device": "cpu", **author}
        same = [
            other
            for other in trials
            if other.evaluation.verdict is trial.evaluation.verdict
            and other.candidate.generator is trial.candidate.generator
            and other.written_by == trial.written_by
        ]
        assert value(found, "everforge_trials_total", **labels) == len(same)
    assert value(found, "everforge_device_seconds_total", device="cpu") == pytest.approx(record.spend.device_seconds)
    measured = len(trials) - 1  # one verdict was known
    assert value(found, "everforge_trial_seconds_count", stage="verify", device="cpu") == measured
    said, model = samples.conversation(), samples.conversation().model
    prompt = value(found, "everforge_llm_tokens_total", model=model, direction="prompt")
    completion = value(found, "everforge_llm_tokens_total", model=model, direction="completion")
    assert (prompt, completion) == (2 * said.prompt_tokens, 2 * said.completion_tokens)
    assert value(found, "everforge_llm_dollars_total", model=model) == pytest.approx(2 * (said.dollars or 0))


def test_scrape_tells_what_waits_for_the_tracking_server(port: int, station_of: Callable[..., Workstation]) -> None:
    with metering_at(port) as meter:
        station = station_of(meter)
        run(station, (GeneratorKind.BUILTIN,))
        found = scraped(port)
        waiting = station.store.flush()
    assert waiting > 0
    assert value(found, "everforge_outbox_depth") == waiting
    assert (value(found, "everforge_store_write_failures_total") or 0) > 0


def test_every_metric_of_the_table_is_set_by_a_campaign(port: int, station_of: Callable[..., Workstation]) -> None:
    with metering_at(port) as meter:
        run(station_of(meter), (GeneratorKind.BUILTIN, GeneratorKind.LLM))
        set_names = {name for (name, _), number in scraped(port).items() if number > 0}
    for metric in TABLE:
        assert {metric.name, f"{metric.name}_count"} & set_names, metric.name


def test_nothing_listens_once_the_command_is_over(port: int) -> None:
    with metering_at(port):
        scraped(port)
    with pytest.raises(urllib.error.URLError, match="refused"):
        scraped(port)


def test_port_in_use_is_a_usage_error(port: int) -> None:
    taken = pytest.raises(UsageError, match=f"--metrics-port {port}: cannot listen")
    with socket.create_server(("127.0.0.1", port)), taken, metering_at(port):
        pass


def test_no_port_counts_nothing() -> None:
    with metering_at(None) as meter:
        assert meter is None
