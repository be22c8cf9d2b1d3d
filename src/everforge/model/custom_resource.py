"""Writes CustomResourceDefinitions from the model, so that an API server refuses what the model refuses.

`docs/generate.py` writes them into `crds/`. An API server takes structural schemas only: a type for each value, no
references, no null; what such a schema cannot say stands in `RULES` of the records, as expressions in CEL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from everforge.model.base import ApiRecord, Rule
from everforge.model.device_pool import DevicePool
from everforge.model.manifest import API_VERSION, KernelOptimization
from everforge.model.runner_claim import RunnerClaim
from everforge.model.scalars import MEANINGS

Schema = dict[str, Any]
GROUP, _SLASH, VERSION = API_VERSION.partition("/")
CATEGORY = "everforge"
# What both dialects write alike.
_COPIED = (
    "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems",
    "maxProperties", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; a wide one shows with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def written(self) -> Schema:
        """The column as a definition has it."""
        column: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return column | {"priority": 1} if self.wide else column


@dataclass(frozen=True)
class Kind:
    """A kind of object: its record, its names, and how `kubectl get` shows it."""

    record: type[ApiRecord]
    plural: str
    short_name: str
    namespaced: bool
    columns: tuple[Column, ...]

    @property
    def file_name(self) -> str:
        """Where the definition is kept."""
        return f"{GROUP}_{self.plural}.yaml"


def _condition(name: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].{part}'


AGE = Column("Age", ".metadata.creationTimestamp", "date")
KINDS = (
    Kind(
        KernelOptimization,
        "kerneloptimizations",
        "kopt",
        namespaced=True,
        columns=(
            Column("Succeeded", _condition("Succeeded", "status")),
            Column("Reason", _condition("Succeeded", "reason")),
            Column("Speedup", ".status.speedup"),
            Column("Unconfirmed", ".status.unconfirmedSpeedup"),
            Column("Trials", ".status.trials.finished", "integer"),
            AGE,
            Column("Suspended", ".spec.suspend", "boolean", wide=True),
            Column("Dollars", ".status.spend.dollars", wide=True),
            Column("Model", ".status.targets[0].champion.modelUri", wide=True),
            Column("Message", _condition("Succeeded", "message"), wide=True),
        ),
    ),
    Kind(
        DevicePool,
        "devicepools",
        "dpool",
        namespaced=False,
        columns=(
            Column("Vendor", ".spec.vendor"),
            Column("Architecture", ".spec.architecture"),
            Column("Devices", ".status.devices", "integer"),
            Column("Runners", ".status.runners", "integer"),
            Column("Waiting", ".status.waiting", "integer"),
            Column("Ready", _condition("Ready", "status")),
            AGE,
            Column("Reason", _condition("Ready", "reason"), wide=True),
            Column("Driver", ".status.driver", wide=True),
            Column("Image", ".spec.runner.image", wide=True),
        ),
    ),
    Kind(
        RunnerClaim,
        "runnerclaims",
        "rclaim",
        namespaced=True,
        columns=(
            Column("Pool", ".spec.pool"),
            Column("Owner", ".spec.owner.name"),
            Column("Phase", ".status.phase"),
            Column("Holder", ".status.holder"),
            Column("Since", ".status.since", "date"),
            Column("Idle", ".status.idleSince", "date"),
            AGE,
            Column("Priority", ".spec.priority", "integer", wide=True),
            Column("Node", ".status.node", wide=True),
            Column("Address", ".status.address", wide=True),
            Column("Message", ".status.message", wide=True),
        ),
    ),
)


def definition(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind."""
    name = kind.record.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.written() for column in kind.columns],
                    "schema": {"openAPIV3Schema": _root_schema(kind.record)},
                }
            ],
        },
    }


def _root_schema(record: type[ApiRecord]) -> Schema:
    """The whole object: its spec and status in full, its metadata left to the API server but for the name."""
    source = record.model_json_schema(by_alias=True, mode="validation")
    translation = _Translation(source["$defs"], {part.__name__: part for part in parts_of(record)})
    name = source["$defs"][source["properties"]["metadata"]["$ref"].rpartition("/")[2]]["properties"]["name"]
    return {
        "description": source["description"],
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [*map(_written_rule, (*_name_rules(name["maxLength"]), *record.RULES))],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{API_VERSION} for this version"},
            "kind": {"type": "string", "description": record.__name__},
            "metadata": {"type": "object"},
            "spec": translation.structural(source["properties"]["spec"]),
            "status": translation.structural(source["properties"]["status"]),
        },
    }


def _name_rules(longest: int) -> tuple[Rule, Rule]:
    """The name of an object, where the API server would take a longer one, and one with dots."""
    return (
        Rule(
            f"size(self.metadata.name) <= {longest}",
            f"metadata.name must have at most {longest} characters: names of Jobs and labels are made from it",
        ),
        Rule(
            "!self.metadata.name.contains('.')",
            "metadata.name must be lower-case letters, digits and dashes, such as softmax-lse",
        ),
    )


def parts_of(record: type[ApiRecord]) -> Iterator[type[ApiRecord]]:
    """The record and every record it is made of."""
    seen: set[type[ApiRecord]] = set()

    def visit(annotation: Any) -> Iterator[type[ApiRecord]]:
        if isinstance(annotation, type) and issubclass(annotation, ApiRecord) and annotation not in seen:
            seen.add(annotation)
            yield annotation
            for field in annotation.model_fields.values():
                yield from visit(field.annotation)
        for argument in get_args(annotation):
            yield from visit(argument)

    return visit(record)


def _written_rule(rule: Rule) -> Schema:
    written = {"rule": rule.cel, "message": rule.message}
    return written if rule.field is None else written | {"fieldPath": f".{rule.field}"}


@dataclass(frozen=True)
class _Translation:
    """From the JSON schema that pydantic writes to a structural one: `definitions` are resolved by name."""

    definitions: Mapping[str, Schema]
    records: Mapping[str, type[BaseModel]]

    def structural(self, source: Schema) -> Schema:
        """The structural schema of one value."""
        if "$ref" in source:
            return self._resolved(source)
        if "anyOf" in source:
            return self._chosen(source)
        target = {"description": source["description"]} if "description" in source else {}
        target |= {key: source[key] for key in _COPIED if key in source}
        target |= _pattern_in_words(target.pop("pattern", None))
        if source.get("default") is not None:
            target["default"] = source["default"]
        if "const" in source:
            target["enum"] = [source["const"]]
        if source.get("type") == "integer":
            target["format"] = "int64"
        if "required" in source:
            target["required"] = source["required"]
        if "items" in source:
            target["items"] = self.structural(source["items"])
        if "properties" in source:
            target["properties"] = {name: self.structural(part) for name, part in source["properties"].items()}
        elif source.get("type") == "object":
            target["additionalProperties"] = self.structural(_values(source))
        return target

    def _resolved(self, source: Schema) -> Schema:
        """A reference: what it leads to, with the description and default of the place where it stands."""
        name = source["$ref"].rpartition("/")[2]
        outer = {key: value for key, value in source.items() if key in ("description", "default")}
        target = self.structural(self.definitions[name] | outer)
        rules = getattr(self.records.get(name), "RULES", ())
        return target | {"x-kubernetes-validations": [*map(_written_rule, rules)]} if rules else target

    def _chosen(self, source: Schema) -> Schema:
        """A choice: a value that may be absent, or a whole number that may be text; the API server knows no other."""
        choices = [choice for choice in source["anyOf"] if choice.get("type") != "null"]
        outer = {key: value for key, value in source.items() if key in ("description", "default")}
        if len(choices) == 1:
            return self.structural(choices[0] | outer)
        merged: Schema = {"x-kubernetes-int-or-string": True}
        for choice in choices:
            merged |= {key: value for key, value in self.structural(choice).items() if key not in ("type", "format")}
        return merged | outer


def _pattern_in_words(pattern: str | None) -> Schema:
    """A pattern as a rule whose message says what is asked for, where the API server would show the pattern."""
    if pattern is None or pattern not in MEANINGS:
        return {} if pattern is None else {"pattern": pattern}
    return {
        "x-kubernetes-validations": [{"rule": f"self.matches('{pattern}')", "message": f"must be {MEANINGS[pattern]}"}]
    }


def _values(source: Schema) -> Schema:
    """The schema of a map's values, whatever its keys must look like."""
    patterns = source.get("patternProperties")
    values: Schema = next(iter(patterns.values())) if patterns else source["additionalProperties"]
    return values
