"""Every record survives the trip through JSON unchanged: rooms exchange nothing else."""

import importlib
import inspect
import json
import pkgutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import everforge.model
from everforge.model.base import ApiRecord, Record, canonical_json, digest_of
from everforge.testing.record_strategies import json_values, records

MODULES = [f"everforge.model.{module.name}" for module in pkgutil.iter_modules(everforge.model.__path__)]


def record_types() -> list[type[BaseModel]]:
    """Every record the model, the generators' port and the store's port define."""
    found: dict[str, type[BaseModel]] = {}
    for name in (*MODULES, "everforge.search.generator", "everforge.store.base"):
        for member in vars(importlib.import_module(name)).values():
            if inspect.isclass(member) and issubclass(member, Record | ApiRecord):
                found[f"{member.__module__}.{member.__name__}"] = member
    return [member for member in found.values() if member not in (Record, ApiRecord)]


@pytest.mark.parametrize("record_type", record_types(), ids=lambda record_type: record_type.__name__)
@given(data=st.data())
@settings(max_examples=50)
def test_record_survives_json(record_type: type[BaseModel], data: st.DataObject) -> None:
    record = data.draw(records(record_type))
    text = record.model_dump_json(by_alias=True)
    assert record_type.model_validate_json(text) == record
    assert record_type.model_validate(json.loads(canonical_json(record.model_dump(mode="json")))) == record


@pytest.mark.parametrize("record_type", record_types(), ids=lambda record_type: record_type.__name__)
@given(data=st.data())
@settings(max_examples=5)
def test_record_is_frozen_and_refuses_strangers(record_type: type[BaseModel], data: st.DataObject) -> None:
    record = data.draw(records(record_type))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, next(iter(record_type.model_fields)), None)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        record_type.model_validate(record.model_dump() | {"no_such_field": 1})


@given(json_values)
def test_equal_values_have_equal_canonical_texts_and_digests(value: object) -> None:
    again = json.loads(json.dumps(value))
    assert canonical_json(again) == canonical_json(value)
    assert digest_of(again) == digest_of(value)


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_text_does_not_depend_on_key_order(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_not_a_number_has_no_canonical_text() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))
