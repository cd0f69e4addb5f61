"""What every contract shares: strict pydantic models."""

from __future__ import annotations

import json
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

# Long enough for any id seen in the wild (e-mail addresses, URNs, two UUIDs), short enough that ids
# cannot blow up keys, headers or the in-memory index.
MAX_ID_CHARS = 256

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


# The pattern alone says all: groups of four, the last one padded. Decoding to check, and then again
# to read, took a fifth of the time in which a worker reads its state back.
Base64 = Annotated[
    str,
    StringConstraints(
        pattern=r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    ),
]


class Contract(BaseModel):
    """A record that the project writes: immutable, closed, without NaN or infinity.

    State is closed: a field that a newer version has added must never be lost in silence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Section(BaseModel):
    """A group of settings; an unknown name is an error, not a silent default.

    Flags and variables are text, so text that is a number is one. A truth value is none, though
    Python and pydantic take it for 1 or 0. `none` is the value of what may be left out.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_given(cls, value: object, info: ValidationInfo) -> object:
        taken = kinds(cls.model_fields[info.field_name or ""].annotation)
        # A flag that may be given several times is a list.
        word = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(word, str) and NoneType in taken and word.strip().lower() == "none":
            return None
        within = value.values() if isinstance(value, dict) else [value]
        if taken & {int, float} and bool not in taken and any(isinstance(v, bool) for v in within):
            raise ValueError("give a number, not true or false")
        return value


def kinds(annotation: Any) -> set[Any]:
    """Give the types that a field's value may have; of a mapping, those of its values."""
    of_values = get_args(annotation)[1:] if get_origin(annotation) is dict else get_args(annotation)
    return set().union(*map(kinds, of_values)) if of_values else {annotation}


class Published(Contract):
    """A record for subscribers, to which later versions may add fields.

    Ours are read and kept, so that records can be compared whole. To write one that the contract
    lacks is a type error.
    """

    model_config = ConfigDict(extra="allow")


E = TypeVar("E", bound=StrEnum)


class Open:
    """Marks the field of a published record whose values may grow: `Annotated[Reason, Open()]`.

    A value that this version does not know is read as a member without a name, equal to its text.
    """

    def __get_pydantic_core_schema__(
        self, source: type[StrEnum], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def read(value: object, known: core_schema.ValidatorFunctionWrapHandler) -> object:
            try:
                return known(value)
            except ValidationError:
                if not isinstance(value, str):
                    raise
                return _unknown(source, value)

        return core_schema.no_info_wrap_validator_function(read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "string"}]}


def _unknown(kind: type[E], value: str) -> E:
    member = str.__new__(kind, value)
    member._name_, member._value_ = value, value
    return member


def schema_id(name: str, version: int = 1) -> str:
    """Name a published schema: an id, not an address."""
    return f"urn:segmenter:schema:{name}:{version}"


def claimed_schema(value: bytes | None, *within: str) -> int:
    """Give the schema_version that a JSON record claims, 0 where it claims none.

    Of a record that could not be read: whether a newer version wrote it. `within` names the fields
    that lead to an inner record.
    """
    try:
        record = json.loads(value or b"")
        for name in within:
            record = record[name]
        claimed = record["schema_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    return claimed if isinstance(claimed, int) else 0
