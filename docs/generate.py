"""Writes the reference of every JSON that Everforge prints or reads, and of its metrics, from what makes them.

    python docs/generate.py           write docs/reference/*.md, docs/knowledge.md, schemas/*.json, crds/*.yaml
    python docs/generate.py --check   write nothing; end with 1 and name the files that are out of date

A test runs the check, so the reference cannot drift from the model.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from everforge.model.analysis import Analysis
from everforge.model.campaign import CampaignRecord
from everforge.model.custom_resource import KINDS, Kind, definition
from everforge.model.device_pool import DevicePool
from everforge.model.evaluation import Evaluation
from everforge.model.kernel_profile import Profile
from everforge.model.knowledge import KnowledgeFile
from everforge.model.manifest import KernelOptimization
from everforge.model.runner_claim import RunnerClaim
from everforge.model.suite import SuiteReport
from everforge.search.knowledge_base import knowledge_files
from everforge.search.knowledge_text import page_lines as knowledge_lines
from everforge.telemetry.metrics import STAGE_BUCKETS_S, TABLE, Metric
from everforge.telemetry.operator_metrics import OPERATOR_TABLE

ROOT = Path(__file__).resolve().parents[1]
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """One record that other tools read or write, and what a reader must know of it first."""

    name: str
    record: type[BaseModel]
    title: str
    introduction: str
    # What Everforge writes always has every field; what it reads may leave out those with a default.
    mode: Literal["serialization", "validation"] = "serialization"

    def schema(self) -> dict[str, Any]:
        """The JSON schema, with the names the JSON uses."""
        return self.record.model_json_schema(by_alias=True, mode=self.mode)


PAGES = (
    Page(
        "evaluation",
        Evaluation,
        "The evaluation",
        "What `everforge evaluate --json` prints, one object on standard output, and what MLflow keeps of every trial. "
        "What was not measured is `null`. Times are medians of one call with a cold cache, in microseconds.",
    ),
    Page(
        "campaign",
        CampaignRecord,
        "The campaign record",
        "What `everforge run --json` ends with: one object on standard output for each target of the manifest.",
    ),
    Page(
        "suite",
        SuiteReport,
        "The suite report",
        "What `everforge suite --out DIR` writes to `DIR/report.json`. Means and win rate run over all tasks that were "
        "not refused. A task that kept its baseline counts 1.0 in `geomean`; in `geomean_fp32` it counts its fastest "
        "fp32 baseline over its fastest allowed baseline, which its user has without Everforge. Intervals are "
        "bootstrapped over tasks.",
    ),
    Page(
        "profile",
        Profile,
        "The profile",
        "What a profiler saw of kernels, whichever it was: `profile` of what `everforge profile show --json` prints. "
        "What a tool did not tell is `null`. Shares are from 0 to 1. [How profiles are made](../profiles.md).",
    ),
    Page(
        "analysis",
        Analysis,
        "The analysis",
        "What limits a candidate on one variant, and what would help: `analysis` of what `everforge profile show "
        "--json` prints, `null` without a trial. [How it is found](../profiles.md#what-limits-a-candidate).",
    ),
    Page(
        "manifest",
        KernelOptimization,
        "The KernelOptimization manifest",
        "What `everforge run` reads and a cluster accepts (`kubectl get kopt`). Numbers with a fraction are text in "
        "quotes. `task`, `variants` and `precision` cannot be changed later, targets can be added but not removed. "
        "The operator writes `status`.",
        mode="validation",
    ),
    Page(
        "device-pool",
        DevicePool,
        "The DevicePool object",
        "Devices of one kind in a cluster (`kubectl get dpool`), written by whoever runs the cluster; a "
        "KernelOptimization names it in its targets. `vendor` and `architecture` cannot be changed later. The operator "
        "writes `status`.",
        mode="validation",
    ),
    Page(
        "runner-claim",
        RunnerClaim,
        "The RunnerClaim object",
        "An agent's request for a runner (`kubectl get rclaim`): who holds which device, since when, and idle since "
        "when. Agents write it; nobody else has to. The operator writes `status`.",
        mode="validation",
    ),
    Page(
        "knowledge",
        KnowledgeFile,
        "Files of knowledge",
        "What a file of `knowledge/` holds, in YAML: one topic, its facts, where each applies, and how it is proven. "
        "A test holds every entry to it.",
        mode="validation",
    ),
)


def rendered() -> dict[Path, str]:
    """Every generated file: path to text."""
    files: dict[Path, str] = {}
    for page in PAGES:
        schema = page.schema()
        files[ROOT / "schemas" / f"{page.name}.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        files[ROOT / "docs" / "reference" / f"{page.name}.md"] = "\n".join(page_lines(page, schema)) + "\n"
    for kind in KINDS:
        files[ROOT / "crds" / kind.file_name] = definition_text(kind)
    files[ROOT / "docs" / "knowledge.md"] = "\n".join(knowledge_lines(knowledge_files())) + "\n"
    files[ROOT / "docs" / "reference" / "metrics.md"] = "\n".join(metrics_lines()) + "\n"
    return files


def definition_text(kind: Kind) -> str:
    """A CustomResourceDefinition in YAML, with a first line that says where it comes from."""
    head = f"# Written by docs/generate.py from {kind.record.__module__}; edit the model instead.\n"
    return head + yaml.safe_dump(definition(kind), sort_keys=False, width=120, allow_unicode=True)


def metrics_lines() -> Iterator[str]:
    """The page of Prometheus metrics in Markdown."""
    yield "<!-- Written by docs/generate.py from everforge.telemetry; edit the tables there instead. -->"
    yield "# The metrics"
    yield ""
    yield (
        "What `everforge run` and `everforge suite` serve at `http://127.0.0.1:N/metrics` while they work, "
        "with `--metrics-port N`, and an agent's pod on port 9464. A counter starts at 0 in every process."
    )
    yield from metric_table(TABLE)
    yield ""
    yield f"Histograms count up to {', '.join(f'{bound:g}' for bound in STAGE_BUCKETS_S)} s."
    yield ""
    yield "## The operator"
    yield ""
    yield "What the operator's pod serves on port 8080; values of objects are those of their statuses at the scrape."
    yield from metric_table(OPERATOR_TABLE)


def metric_table(metrics: Iterable[Metric]) -> Iterator[str]:
    """Metrics as a table."""
    yield ""
    yield "| name | type | labels | meaning |"
    yield "|---|---|---|---|"
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.type.value} | {labels} | {one_line(metric.help)} |"


def page_lines(page: Page, schema: Schema) -> Iterator[str]:
    """A page in Markdown: the record itself, then every record it is made of."""
    yield f"<!-- Written by docs/generate.py from {page.record.__module__}; edit the model instead. -->"
    yield f"# {page.title}"
    yield ""
    yield page.introduction
    yield f"As a JSON schema: [`schemas/{page.name}.json`](../../schemas/{page.name}.json)."
    yield from section_lines(schema, page.mode)
    for name, part in schema.get("$defs", {}).items():
        yield ""
        yield f"## {name}"
        yield from section_lines(part, page.mode)


def section_lines(part: Schema, mode: str) -> Iterator[str]:
    """A record as a table of its fields, an enum as the list of its values."""
    yield ""
    if text := part.get("description"):
        yield one_line(text)
        yield ""
    if "enum" in part:
        yield ", ".join(f"`{value}`" for value in part["enum"])
        return
    required = set(part.get("required", ())) if mode == "validation" else set()
    yield "| field | type | meaning |"
    yield "|---|---|---|"
    for name, field in part.get("properties", {}).items():
        notes = [one_line(field.get("description", "")), "Required." if name in required else default_text(field, mode)]
        type_ = type_text(field)
        if mode == "validation":  # what is read may leave a field out, but null is no value
            type_ = type_.removesuffix(" or null")
        yield f"| `{name}` | {type_} | {joined(notes)} |"


def joined(notes: Iterable[str]) -> str:
    """Notes on one field as sentences."""
    given = [note for note in notes if note]
    return " ".join(note if note is given[-1] or note.endswith(".") else f"{note}." for note in given)


def default_text(field: Schema, mode: str) -> str:
    """What a field that is left out means."""
    default = field.get("default")
    if mode != "validation" or default is None or isinstance(default, dict | list):
        return ""
    return f"Default: `{json.dumps(default)}`."


def one_line(text: str) -> str:
    """Text as it fits a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def type_text(field: Schema) -> str:
    """A field's type in words, with links to the records on the page."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(type_text(choice) for choice in field["anyOf"]))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {type_text(field.get('items', {}))}"
    if field.get("type") == "object":
        by_key = field.get("patternProperties") or {}
        values = next(iter(by_key.values()), field.get("additionalProperties", {}))
        return f"text → {type_text(values)}" if isinstance(values, dict) and values else "object"
    return {"string": "text", "null": "null"}.get(field.get("type", ""), str(field.get("type", "any")))


def main() -> int:
    """Write the files, or with --check say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 if a file is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in rendered().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rendered()[path], encoding="utf-8")
        sys.stdout.write(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
