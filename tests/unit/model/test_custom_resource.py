"""What the CustomResourceDefinitions hold: all of the model's rules, nothing an API server would not take.

`tests/cluster/test_objects.py` asks a real API server; this file needs none.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from everforge.model.base import ApiRecord, Rule
from everforge.model.custom_resource import KINDS, Kind, definition, parts_of
from everforge.model.scalars import MEANINGS

RECORDS = sorted({part for kind in KINDS for part in parts_of(kind.record)}, key=lambda record: record.__name__)
# Validators whose twin is in the schema, or in what the API server does with every object.
TWINS_IN_THE_SCHEMA = {
    "_null_is_absent": "an API server drops a null before it applies defaults",
    "_no_name_is_repeated": "x-kubernetes-list-type map and set",
}
# Maps of metadata: the API server checks labels and annotations of every object.
MAPS_OF_THE_SERVER = {"labels", "annotations"}


def validators_of(record: type[ApiRecord]) -> set[str]:
    """Names of the validators of a record, inherited ones included."""
    decorators = record.__pydantic_decorators__
    groups = (decorators.validators, decorators.field_validators, decorators.root_validators)
    return {name for group in (*groups, decorators.model_validators) for name in group}


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every value a schema describes, with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def described(kind: Kind) -> list[tuple[str, dict[str, Any]]]:
    """The nodes of spec and status; the rest of an object is Kubernetes' own."""
    return [(path, node) for path, node in nodes(schema_of(kind)) if path.startswith((".spec", ".status"))]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_validator_has_its_twin_in_the_api_server(record: type[ApiRecord]) -> None:
    twins = {rule.twin for rule in record.RULES}
    assert validators_of(record) - TWINS_IN_THE_SCHEMA.keys() <= twins


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_rule_is_a_validators_twin_or_about_a_change(record: type[ApiRecord]) -> None:
    for rule in record.RULES:
        constrained_keys = {f"{record.model_fields[name].alias} keys" for name in maps_with_constrained_keys(record)}
        known = validators_of(record) | constrained_keys
        assert rule.is_transition if rule.twin is None else rule.twin in known, rule


def maps_with_constrained_keys(record: type[ApiRecord]) -> set[str]:
    """Fields that are maps whose keys must match a pattern, which no structural schema can say."""
    properties = record.model_json_schema(by_alias=False)["properties"]
    return {name for name, schema in properties.items() if "patternProperties" in schema}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_patterns_of_a_maps_keys_have_their_twin(record: type[ApiRecord]) -> None:
    twins = {rule.twin for rule in record.RULES}
    for name in maps_with_constrained_keys(record) - MAPS_OF_THE_SERVER:
        assert f"{record.model_fields[name].alias} keys" in twins


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_schema_is_structural_and_closed(kind: Kind) -> None:
    forbidden = {"$ref", "$defs", "anyOf", "allOf", "title", "const", "patternProperties", "propertyNames"}
    for path, node in nodes(schema_of(kind)):
        assert not forbidden & node.keys(), path
        assert "x-kubernetes-preserve-unknown-fields" not in node, path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_every_value_is_bounded_so_that_rules_stay_cheap(kind: Kind) -> None:
    needs = {"string": {"maxLength", "enum", "format"}, "array": {"maxItems"}, "integer": {"maximum"}}
    for path, node in described(kind):
        wanted = needs.get(node.get("type", ""), {"maxProperties"} if "additionalProperties" in node else set())
        assert not wanted or wanted & node.keys(), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_every_field_is_explained(kind: Kind) -> None:
    for path, node in described(kind):
        if not path.endswith(("[]", "{}")):
            assert len(node.get("description", "")) >= len("Trials"), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_every_pattern_a_user_meets_is_said_in_words(kind: Kind) -> None:
    for path, node in described(kind):
        assert path.startswith(".status") or "pattern" not in node, path
        for rule in node.get("x-kubernetes-validations", ()):
            if rule["rule"].startswith("self.matches"):
                assert rule["message"].removeprefix("must be ") in MEANINGS.values()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_columns_and_map_keys_name_fields_that_exist(kind: Kind) -> None:
    (version,) = definition(kind)["spec"]["versions"]
    fields = {re.sub(r"\[\]|\{\}", "", path) for path, _node in nodes(schema_of(kind))}
    for column in version["additionalPrinterColumns"]:
        path = re.sub(r"\[.*?\]", "", column["jsonPath"])
        assert path in fields or path == ".metadata.creationTimestamp", column
    for path, node in nodes(schema_of(kind)):
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"], path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_at_most_seven_columns_fit_a_terminal(kind: Kind) -> None:
    assert len([column for column in kind.columns if not column.wide]) <= 7
    assert kind.columns[0].name != "Age"


def test_status_is_of_the_operator_alone() -> None:
    for kind in KINDS:
        (version,) = definition(kind)["spec"]["versions"]
        assert version["subresources"] == {"status": {}}


def test_rules_of_a_part_stand_where_the_part_stands() -> None:
    written = {kind.plural: dict(nodes(schema_of(kind))) for kind in KINDS}
    rules = written["kerneloptimizations"][".spec.task.inputs"]["x-kubernetes-validations"]
    assert [rule["fieldPath"] for rule in rules] == [".scales"]
    assert "phase cannot change that way" in str(written["runnerclaims"][".status"]["x-kubernetes-validations"])


def test_missing_twin_would_be_noticed() -> None:
    class Careless(ApiRecord):
        RULES = (Rule(cel="true", message="nothing", twin="_no_such_validator"),)

    with pytest.raises(AssertionError):
        test_every_rule_is_a_validators_twin_or_about_a_change(Careless)
