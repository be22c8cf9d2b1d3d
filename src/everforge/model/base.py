"""What every record shares: frozen, no unknown fields, one canonical JSON, one digest.

Parts of Kubernetes objects also carry the rules that the API server checks for them: `custom_resource.py` writes
them into the CustomResourceDefinitions.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from pydantic.alias_generators import to_camel


class Record(BaseModel):
    """A frozen record exchanged between rooms; absent is None, never 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Rule:
    """What the API server checks of a part of an object beyond its fields' types: an expression in CEL.

    A rule either does in the server what `twin`, a validator of the record, does in the model, or compares an
    object with what it was before (`oldSelf`), which only the server can.
    """

    cel: str
    message: str
    twin: str | None = None
    field: str | None = None

    @property
    def is_transition(self) -> bool:
        """Whether it is about a change."""
        return "oldSelf" in self.cel


class ApiRecord(BaseModel):
    """A frozen part of a Kubernetes object: camelCase outside, snake_case inside, absent fields left out."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, allow_inf_nan=False
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """Validate as strictly as the API server: no text for a number, names in camelCase.

        Raises pydantic's ValidationError.
        """
        return cls.model_validate_json(json.dumps(value), strict=True, by_alias=True, by_name=False)

    def written(self) -> dict[str, Any]:
        """The part as an API server takes it: plain JSON values in camelCase."""
        return self.model_dump(mode="json", by_alias=True)

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any, info: ValidationInfo) -> Any:
        """In JSON a null is a field left out, as an API server takes it."""
        if value is not None or info.mode != "json" or info.field_name is None:
            return value
        field = cls.model_fields[info.field_name]
        return value if field.is_required() else field.get_default(call_default_factory=True)

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """To an API server a null in a patch means: remove what is there."""
        return {name: value for name, value in serialized(self).items() if value is not None}


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces; equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """`sha256:…` of a text, or of a value's canonical JSON."""
    text = value if isinstance(value, str) else canonical_json(value)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
