"""The end of `everforge run`: what was found, how it compares, where it is, and what to do with it."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from everforge.cli.tally_table import tally_tables
from everforge.cli.wording import FAILED_STYLE, VERDICT_STYLES, interval_text, ratio_text, time_text
from everforge.model.campaign import CampaignRecord, CampaignState, Champion
from everforge.model.evaluation import VariantResult
from everforge.model.trial import Trial

# MLflow's server imports LiteLLM, which asks the network for its price list; without a network the warnings of its
# two threads were seen to wait for each other's imports for ever (litellm 1.106, mlflow 3.17).
_LITELLM_OFFLINE = "LITELLM_LOCAL_MODEL_COST_MAP=True"


def print_results(record: CampaignRecord, champion_trial: Trial | None, manifest: Path, console: Console) -> None:
    """Write the campaign's results: a table of times, the champion, where everything is, what to run next."""
    measured = {v.name: v for v in champion_trial.evaluation.variants} if champion_trial else {}
    console.print(Text(f"\n{record.name} on {record.device}: {_headline(record)}", style="bold"))
    if record.baselines_us:
        console.print(times_table(record, measured))
    for table in tally_tables(record.by_generator, console.width):
        console.print(table)
    for label, value in _facts(record, manifest):
        console.print(Text.assemble((f"{label:<16}", "dim"), value), soft_wrap=True)


def times_table(record: CampaignRecord, measured: dict[str, VariantResult]) -> RenderableType:
    """Variants down, baselines and champion across: median times, and the speedup on each variant."""
    # Where the champion was raced, its speedup is over the times of that race, not those of the session's opening.
    rows = record.baselines_us | {
        name: result.baselines_us for name, result in measured.items() if result.baselines_us or result.held_out
    }
    names = sorted({name for baselines in rows.values() for name in baselines})
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("variant")
    for name in (*names, "champion", "speedup"):
        table.add_column(name, justify="right")
    for variant in sorted(rows, key=lambda name: name not in record.baselines_us):
        table.add_row(*_times_row(variant, rows[variant], names, measured.get(variant)))
    return table


def _times_row(
    variant: str, baselines: dict[str, float], names: list[str], result: VariantResult | None
) -> Iterator[Text]:
    fastest = min(baselines, key=lambda name: baselines[name], default=None)
    yield Text(f"{variant} (held out)" if result is not None and result.held_out else variant)
    yield from (Text(time_text(baselines.get(name)), "bold" if name == fastest else "") for name in names)
    untimed = result is not None and result.candidate_us is None
    yield Text("correct" if untimed else time_text(result.candidate_us if result else None))
    yield Text(interval_text(result.speedup if result else None))


def _headline(record: CampaignRecord) -> str:
    if record.state is CampaignState.INTERRUPTED:
        return "interrupted"
    if record.state is CampaignState.FAILED:
        return "failed"
    if record.champion is None:
        return "nothing faster than the baselines was found"
    return f"{interval_text(record.champion.speedup)} times the fastest allowed baseline"


def _facts(record: CampaignRecord, manifest: Path) -> Iterator[tuple[str, str | Text]]:
    yield "ended", f"{record.stop_reason}: {record.detail}" if record.stop_reason else record.state.value
    if record.champion is not None:
        yield from _champion_facts(record.champion)
    yield "trials", _verdicts(record)
    spend = record.spend
    yield "spent", f"{spend.seconds:.0f} s, {spend.device_seconds:.0f} s of them on the device{_llm(record)}"
    yield from (("note", note) for note in record.notes)
    if record.champion is not None and record.champion.source_path is not None:
        yield "source", shown_path(record.champion.source_path)
        yield "check again", _evaluate_command(record, record.champion.source_path, manifest)
    if record.run_id is not None:
        yield "MLflow run", f"{record.run_id} (experiment {record.experiment_id})"
    if record.tracking_uri is not None:
        yield "look inside", mlflow_command(record.tracking_uri)


def _champion_facts(champion: Champion) -> Iterator[tuple[str, str]]:
    yield "speedup", f"{interval_text(champion.speedup)} over the fastest allowed baseline (95 % interval)"
    yield "against fp32", f"{ratio_text(champion.speedup_fp32)} over the fastest fp32 baseline"
    if champion.sol_fraction is not None:
        yield "speed of light", f"{champion.sol_fraction:.0%} of the roofline's rate"
    if champion.algebraic:
        yield "shortcut", "algebraic: it does fewer operations than the task states"
    if champion.model_uri is not None:
        yield "registered", champion.model_uri


def _verdicts(record: CampaignRecord) -> Text:
    counts = [
        Text(f"{count} {verdict}", VERDICT_STYLES.get(verdict, FAILED_STYLE))
        for verdict, count in record.trials_by_verdict.items()
    ]
    return Text.assemble(f"{record.trials}: " if counts else "none", Text(", ").join(counts))


def _llm(record: CampaignRecord) -> str:
    spend = record.spend
    return f", {spend.tokens} tokens, ${spend.dollars:.4f}" if spend.tokens else ""


def _evaluate_command(record: CampaignRecord, source: str, manifest: Path) -> str:
    parts = [_command("everforge"), "evaluate", str(manifest), shown_path(source)]
    return f"{shlex.join(parts)} --device {record.device}"


def mlflow_command(tracking_uri: str) -> str:
    """The command that shows the trials; for a server, its address is all there is to open."""
    if tracking_uri.startswith(("http://", "https://")):
        return f"open {tracking_uri}"
    return f"{_LITELLM_OFFLINE} {shlex.join([_command('mlflow'), 'ui', '--backend-store-uri', tracking_uri])}"


def _command(name: str) -> str:
    """A command of this environment, as it can be typed in the current directory."""
    beside = Path(sys.executable).parent / name
    return shown_path(str(beside)) if beside.exists() else name


def shown_path(path: str) -> str:
    """A path relative to the current directory where it lies below it."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
