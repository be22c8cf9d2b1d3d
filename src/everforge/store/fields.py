"""What a campaign and a trial are called in the tracking UI: names, params, metrics and tags.

Pure: `mlflow_store.py` sends what these functions return, within MLflow's limits on lengths and characters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from everforge.model.base import canonical_json
from everforge.model.campaign import CampaignRecord, CampaignSpec, Champion
from everforge.model.device import DeviceKind, Environment
from everforge.model.evaluation import DeviceReading, VariantResult
from everforge.model.tally import Tally
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict

# MLflow 3 refuses longer ones: param values above 6000 characters, tag values above 8000, keys above 250
# (of which `parameter.` and `/error_ratio` take some).
PARAM_CHARACTERS = 6000
TAG_CHARACTERS = 8000
KEY_CHARACTERS = 230
# `by_` before the name of a model, and `/remeasured_compile_error` behind it.
AUTHOR_CHARACTERS = 200
SENSORS = ("clock_mhz", "memory_clock_mhz", "temperature_c", "power_w")
# MLflow takes 100 params in one batch; a candidate tuned by more constants keeps the rest in trial.json.
PARAMS_PER_BATCH = 100
# A run name should fit the runs table without being cut: about 50 characters at 1280 pixels.
STRATEGY_CHARACTERS = 32


def cut(text: str, characters: int) -> str:
    """The text within a limit. NUL, which compilers print and PostgreSQL refuses, becomes a visible mark."""
    return text[:characters].replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _params(values: Mapping[str, str]) -> dict[str, str]:
    return {key: cut(value, PARAM_CHARACTERS) for key, value in list(values.items())[:PARAMS_PER_BATCH]}


def _tags(values: Mapping[str, str]) -> dict[str, str]:
    return {key: cut(value, TAG_CHARACTERS) for key, value in values.items()}


def ordered(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Trials by number, and by id where two share one (a search trial and its re-measurement may)."""
    return tuple(sorted(trials, key=lambda trial: (trial.number, trial.trial_id)))


def model_name_of(task: str, device: DeviceKind) -> str:
    """Name of the registered model, `<task>-<device>`; what MLflow or a URI would trip over becomes `-`."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", task).strip("-.") or "task"
    return f"{safe}-{device}"


def campaign_run_name(spec: CampaignSpec) -> str:
    """Name of a campaign's parent run."""
    return cut(f"{spec.name} on {spec.device}", TAG_CHARACTERS)


def campaign_params(spec: CampaignSpec) -> dict[str, str]:
    """What defines the campaign and so never changes: MLflow's params are immutable."""
    values = {
        "device": spec.device,
        "precision": spec.task.precision,
        "mode": spec.task.mode,
        "variants": ", ".join(variant.name for variant in spec.task.variants),
    }
    return _params(values)


def campaign_tags(spec: CampaignSpec) -> dict[str, str]:
    """What may change when a campaign resumes: its budget, generators, target and model."""
    budget = spec.budget.model_dump(mode="json", exclude_none=True)
    values = {
        "everforge.kind": "campaign",
        "everforge.campaign_id": spec.campaign_id,
        "everforge.task": spec.task.name,
        "everforge.task_digest": spec.task.digest,
        "everforge.device": spec.device,
        "everforge.budget": canonical_json(budget),
        "everforge.generators": ", ".join(spec.generators),
        "everforge.target_speedup": "none" if spec.target_speedup is None else f"{spec.target_speedup:g}",
        "everforge.model": spec.model.model if spec.model else "none",
        "mlflow.source.name": "everforge",
        "mlflow.source.type": "LOCAL",
    }
    return _tags(values)


def environment_tags(environment: Environment) -> dict[str, str]:
    """Where measurements were made."""
    tags = {
        "everforge.device": environment.device,
        "everforge.device_name": environment.device_name,
        "everforge.architecture": environment.architecture,
        "everforge.host": environment.host,
    }
    if environment.driver is not None:
        tags["everforge.driver"] = environment.driver
    return _tags(tags)


def record_tags(record: CampaignRecord) -> dict[str, str]:
    """Where the campaign stands."""
    tags: dict[str, str] = {"everforge.state": record.state}
    if record.detail:
        tags["everforge.detail"] = record.detail
    if record.stop_reason is not None:
        tags["everforge.stop_reason"] = record.stop_reason
    if record.by_generator:
        tags["everforge.by_generator"] = "; ".join(map(_tally_text, record.by_generator))
    if record.champion is not None:
        tags["everforge.champion_trial_id"] = record.champion.trial_id
        tags["everforge.champion_digest"] = record.champion.candidate_digest
    return _tags(tags)


def record_metrics(record: CampaignRecord) -> dict[str, float]:
    """Totals of the campaign and its champion's figures."""
    metrics: dict[str, float | None] = {
        "trials": record.trials,
        "device_seconds": record.spend.device_seconds,
        "seconds": record.spend.seconds,
        "tokens": record.spend.tokens,
        "dollars": record.spend.dollars,
    }
    metrics |= {f"trials/{verdict}": count for verdict, count in record.trials_by_verdict.items()}
    for tally in record.by_generator:
        metrics |= _tally_metrics(tally)
    if record.champion is not None:
        metrics |= champion_metrics(record.champion)
    return present(metrics)


def _tally_metrics(tally: Tally) -> dict[str, float | None]:
    """One author's verdicts and costs under `by_<author>/`: `by_builtin/faster`, `by_openai_gpt-4.1/tampered`."""
    counts = {verdict.value: count for verdict, count in tally.trials_by_verdict.items()}
    again = {f"remeasured_{verdict}": count for verdict, count in tally.remeasured_by_verdict.items()}
    costs = {"device_seconds": tally.device_seconds, "tokens": tally.tokens, "dollars": tally.dollars}
    figures: dict[str, float | None] = {"trials": tally.trials, **counts, **again, **costs}
    return {f"by_{_key_part(tally.author, AUTHOR_CHARACTERS)}/{name}": value for name, value in figures.items()}


def _tally_text(tally: Tally) -> str:
    """`openai/gpt-4.1: 2 faster, 1 tampered`, verdicts of search and re-measurements together."""
    counts = ", ".join(f"{count} {verdict}" for verdict in Verdict if (count := tally.caught(verdict)))
    return f"{tally.author}: {counts or 'no trial'}"


def champion_metrics(champion: Champion) -> dict[str, float | None]:
    """The champion's figures under `champion/`, so that campaigns can be compared in one table."""
    return {
        "champion/speedup": champion.speedup.value,
        "champion/speedup_low": champion.speedup.low,
        "champion/speedup_high": champion.speedup.high,
        "champion/speedup_fp32": champion.speedup_fp32,
        "champion/sol_fraction": champion.sol_fraction,
    }


def trial_run_name(trial: Trial) -> str:
    """`003 faster builtin fused row reduction`: sorts by number, reads as a sentence."""
    strategy = cut(" ".join(trial.candidate.strategy.split()), STRATEGY_CHARACTERS)
    parts = [f"{trial.number:03d}", trial.evaluation.verdict, trial.candidate.generator, strategy]
    if trial.purpose is Purpose.CHAMPION:
        parts.insert(1, "champion")
    return " ".join(parts).strip()


def trial_params(trial: Trial) -> dict[str, str]:
    """How the candidate came about, its tuned constants as `parameter.<name>`."""
    proposed = trial.candidate
    params: dict[str, str] = {"language": proposed.language, "generator": proposed.generator}
    if proposed.strategy:
        params["strategy"] = proposed.strategy
    if proposed.rewrites:
        params["rewrites"] = ", ".join(proposed.rewrites)
    if trial.written_by is not None:
        params["model"] = trial.written_by
    for name, value in proposed.parameters.items():
        params.setdefault(f"parameter.{_key_part(name)}", str(value))
    return _params(params)


def trial_metrics(trial: Trial) -> dict[str, float]:
    """What was measured, the rest absent. The UI groups names by their slash: `decode/candidate_us`."""
    judged = trial.evaluation
    metrics: dict[str, float | None] = {
        "trial": trial.number,
        "speedup_fp32": judged.speedup_fp32,
        "sol_fraction": judged.sol_fraction,
        "own_share": judged.own_share,
        "device_seconds": judged.device_seconds,
        "tokens": trial.spend.tokens,
        "dollars": trial.spend.dollars,
        "seconds/compile": judged.stages.compile,
        "seconds/verify": judged.stages.verify,
        "seconds/time": judged.stages.time,
        "seconds/overhead": judged.stages.overhead,
    }
    if judged.speedup is not None:
        metrics |= {
            "speedup": judged.speedup.value,
            "speedup_low": judged.speedup.low,
            "speedup_high": judged.speedup.high,
        }
    for variant in judged.variants:
        metrics |= _variant_metrics(variant)
    return present(metrics | _sensor_metrics(judged.readings))


def _sensor_metrics(readings: Sequence[DeviceReading]) -> dict[str, float | None]:
    """The device's sensors before and after timing: `sensors/clock_mhz_before`, `sensors/clock_mhz_after`, …"""
    if not readings:
        return {}
    moments = {"before": readings[0], "after": readings[-1]} if len(readings) > 1 else {"before": readings[0]}
    return {f"sensors/{name}_{moment}": getattr(r, name) for name in SENSORS for moment, r in moments.items()}


def _variant_metrics(variant: VariantResult) -> dict[str, float | None]:
    metrics = {
        "candidate_us": variant.candidate_us,
        "max_error": variant.max_error,
        "error_ratio": variant.error_ratio,
        "speedup": variant.speedup.value if variant.speedup else None,
        "speedup_by_wall": variant.speedup_by_wall.value if variant.speedup_by_wall else None,
        "speedup_replayed": variant.speedup_replayed.value if variant.speedup_replayed else None,
        "replay_us": variant.replay_us,
        "baseline_replay_us": variant.baseline_replay_us,
        "launch_us": variant.launch_us,
        "baseline_launch_us": variant.baseline_launch_us,
        "rechecked": variant.rechecked,
    }
    return {f"{_key_part(variant.name)}/{name}": value for name, value in metrics.items()}


def trial_tags(trial: Trial, parent_run_id: str) -> dict[str, str]:
    """Identity of the trial and its outcome, searchable."""
    judged = trial.evaluation
    tags = {
        "mlflow.parentRunId": parent_run_id,
        "mlflow.source.name": "everforge",
        "mlflow.source.type": "LOCAL",
        "everforge.kind": "trial",
        "everforge.campaign_id": trial.campaign_id,
        "everforge.trial_id": trial.trial_id,
        "everforge.purpose": trial.purpose,
        "everforge.verdict": judged.verdict,
        "everforge.reason": judged.reason,
        "everforge.task_digest": judged.task_digest,
        "everforge.candidate_digest": trial.candidate.digest,
        "everforge.algebraic": str(judged.algebraic).lower(),
    }
    if judged.fault is not None:
        tags["everforge.fault"] = judged.fault
    if judged.evidence:
        tags["everforge.evidence"] = "\n".join(judged.evidence)
    if throttled_by := dict.fromkeys(reason for reading in judged.readings for reason in reading.throttled_by):
        tags["everforge.throttled_by"] = ", ".join(throttled_by)
    if trial.candidate.parent is not None:
        tags["everforge.parent_trial_id"] = trial.candidate.parent
    return _tags(tags) | environment_tags(judged.environment)


def champion_tags(champion: Champion, trial: Trial) -> dict[str, str]:
    """Provenance of a registered version."""
    figures = {
        "everforge.speedup": f"{champion.speedup.value:.4g}",
        "everforge.speedup_interval": f"{champion.speedup.low:.4g} to {champion.speedup.high:.4g}",
        "everforge.language": trial.candidate.language,
    }
    identity = {
        "everforge.candidate_digest": champion.candidate_digest,
        "everforge.task_digest": trial.evaluation.task_digest,
        "everforge.campaign_id": trial.campaign_id,
        "everforge.trial_id": champion.trial_id,
    }
    return _tags(figures | environment_tags(trial.evaluation.environment) | identity)


def present(values: Mapping[str, float | None]) -> dict[str, float]:
    """The values that were measured."""
    return {name: float(value) for name, value in values.items() if value is not None}


def _key_part(name: str, characters: int = KEY_CHARACTERS) -> str:
    """The name as part of a key: MLflow's keys are paths, so no slashes, and no dots alone."""
    safe = re.sub(r"[^\w\- .]|^\.+$", "_", name)
    return cut(safe or "_", characters)
