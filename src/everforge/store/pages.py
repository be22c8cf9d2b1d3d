"""What a person reads in the tracking UI: a short note per run, and the summary page of a campaign.

Pure text from records; everything that came from outside is escaped. `mlflow_store.py` uploads it.
"""

from collections.abc import Sequence
from html import escape

from everforge.model.campaign import CampaignRecord, Champion
from everforge.model.interval import Interval
from everforge.model.tally import Tally
from everforge.model.trial import Trial
from everforge.model.verdict import Verdict
from everforge.store.fields import TAG_CHARACTERS, cut

# Of a compiler's output the first lines name the error; the whole text is in evaluation.json.
DIAGNOSTIC_CHARACTERS = 2000

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em; color: #1b1f24; background: #fff; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { padding: 0.3em 0.9em; border-bottom: 1px solid #d5d9de; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
.state { color: #57606a; }
"""


def trial_note(trial: Trial) -> str:
    """Markdown for a trial's run: the reason and what was seen, each variant's error and times, then diagnostics."""
    judged = trial.evaluation
    lines = [f"**{judged.verdict}**: {_markdown(judged.reason)}"]
    if judged.evidence:
        lines += ["", *(f"- seen: {_markdown(line)}" for line in judged.evidence)]
    if judged.variants:
        lines += [
            "",
            "| variant | correct | error ratio | candidate µs | fastest baseline µs | speedup |",
            "|---|---|---|---|---|---|",
        ]
        for variant in judged.variants:
            fastest = min(variant.baselines_us.values(), default=None)
            cells = [
                variant.name,
                "yes" if variant.correct else _markdown(variant.detail or "no"),
                _figure(variant.error_ratio),
                _figure(variant.candidate_us),
                _figure(fastest),
                _interval(variant.speedup),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    if judged.diagnostics:
        lines += ["", "```text", judged.diagnostics[:DIAGNOSTIC_CHARACTERS].replace("```", "'''"), "```"]
    return cut("\n".join(lines), TAG_CHARACTERS)


def campaign_note(record: CampaignRecord) -> str:
    """Markdown for a campaign's run: where it stands, in a few lines."""
    stopped = f", {record.stop_reason}" if record.stop_reason else ""
    lines = [f"**{record.state}**{stopped} after {record.trials} trials. {_markdown(record.detail)}".rstrip()]
    if record.champion is not None:
        champion = record.champion
        lines.append(f"\nChampion: **{_interval(champion.speedup)} ×** the fastest allowed baseline.")
        if champion.algebraic:
            lines.append("It takes an algebraic shortcut: fewer FLOPs than the task states.")
    lines.append("\n`summary.html` under Artifacts has the baselines and the verdicts.")
    return cut("\n".join(lines), TAG_CHARACTERS)


def campaign_page(record: CampaignRecord) -> str:
    """The summary page of a campaign, one self-contained HTML document."""
    stopped = f" ({record.stop_reason})" if record.stop_reason else ""
    sections = [
        f"<h1>{escape(record.task)} on {escape(record.device)}</h1>",
        f'<p class="state">{escape(record.state)}{escape(stopped)}. {escape(record.detail)}</p>',
        _champion_section(record.champion),
        _baseline_section(record.baselines_us),
        _table(
            "Trials by verdict",
            ("verdict", "trials"),
            [(verdict, f"{count}") for verdict, count in record.trials_by_verdict.items()],
        ),
        _author_section(record.by_generator),
        _spend_section(record),
        _notes_section(record.notes),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(record.task)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _champion_section(champion: Champion | None) -> str:
    if champion is None:
        return "<h2>Champion</h2><p>None yet: no candidate was proven faster than the fastest baseline.</p>"
    rows = [
        ("speedup over the fastest allowed baseline", _interval(champion.speedup)),
        ("speedup over the fastest fp32 baseline", _figure(champion.speedup_fp32)),
        ("fraction of the speed of light", _figure(champion.sol_fraction)),
        ("algebraic shortcut", "yes" if champion.algebraic else "no"),
        ("registered as", champion.model_uri or "–"),
        ("candidate", champion.candidate_digest),
    ]
    return _table("Champion", ("", ""), rows)


def _baseline_section(baselines_us: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for times in baselines_us.values() for name in times))
    rows = [(variant, *(_figure(times.get(name)) for name in names)) for variant, times in baselines_us.items()]
    return _table("Baselines, median µs per call", ("variant", *names), rows)


def _author_section(tallies: Sequence[Tally]) -> str:
    """Verdicts, tokens and dollars of each generator and model."""
    given = [verdict for verdict in Verdict if any(tally.caught(verdict) for tally in tallies)]
    rows = [
        (
            tally.author,
            f"{tally.trials}",
            *(f"{tally.caught(verdict) or '–'}" for verdict in given),
            f"{tally.tokens}",
            "unknown" if tally.dollars is None else f"{tally.dollars:.2f}",
        )
        for tally in tallies
    ]
    header = ("candidates by", "trials", *(verdict.value for verdict in given), "tokens", "$")
    return _table("Authors, re-measurements included", header, rows)


def _spend_section(record: CampaignRecord) -> str:
    spend = record.spend
    rows = [
        ("wall time", f"{spend.seconds:.0f} s"),
        ("device time", f"{spend.device_seconds:.0f} s"),
        ("LLM tokens", f"{spend.tokens}"),
        ("LLM cost", f"{spend.dollars:.2f} $"),
    ]
    return _table("Spent", ("", ""), rows)


def _notes_section(notes: tuple[str, ...]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>Notes</h2><ul>{items}</ul>" if items else ""


def _table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A titled table, its first column text and the others numbers; nothing at all without rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header) if any(header) else ""
    body = "".join(
        f"<tr><td>{escape(first)}</td>"
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    return f"<h2>{escape(title)}</h2>\n<table>{f'<tr>{head}</tr>' if head else ''}\n{body}</table>"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _interval(value: Interval | None) -> str:
    return "–" if value is None else f"{value.value:.3g} ({value.low:.3g} to {value.high:.3g})"


def _markdown(text: str) -> str:
    """One line of text that cannot break a table or a paragraph, nor smuggle in HTML."""
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|")
