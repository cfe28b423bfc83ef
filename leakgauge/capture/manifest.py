"""What `capture.json` holds: one exchange of a federation, in words and numbers that no framework owns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from leakgauge.core.errors import UsageError

FORMAT, VERSION = "leakgauge-capture", 1

Kind = Literal["gradient", "delta", "weights"]
Direction = Literal["client_to_server", "server_to_client", "peer_to_peer"]
_Count = Annotated[int, Field(ge=1, le=10**9)]
_Named = TypeVar("_Named")
_Text = Annotated[str, Field(max_length=200)]


@final
class Pixels(BaseModel):
    """What the network takes: pixels of a shape from low to high, of which it sees (x - mean) / std, channel by channel."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    shape: tuple[_Count, ...] = Field(min_length=1, max_length=4)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    low: float = 0.0
    high: float = 1.0

    @field_validator("shape")
    @classmethod
    def _has_a_size_that_fits_into_memory(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(shape) > _PIXELS:
            raise ValueError(f"is of {math.prod(shape):,} numbers, expected at most {_PIXELS:,}")
        return shape


@final
class Spent(BaseModel):
    """What an accountant of DP-SGD has in its ledger: so many steps, each on examples drawn with a probability."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    noise_multiplier: Annotated[float, Field(ge=0)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    steps: _Count


@final
class Manifest(BaseModel):
    """One exchange. What nobody said is null; `client` is text, since the numbers of nodes may not fit into 63 bits.

    `kind` says what `sent` is: the gradient of the loss; `delta`, weights after local training minus before; or the weights after.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, title="leakgauge capture")

    format: Literal["leakgauge-capture"] = "leakgauge-capture"
    version: Literal[1] = 1
    kind: Kind
    framework: _Text = Field("pytorch", description="what ran the federation, with its version")
    run: _Text = Field("", description="which federation")
    round: Annotated[int, Field(ge=0)] | None = None
    client: _Text = ""
    direction: Direction = "client_to_server"
    examples: _Count | None = Field(None, description="private examples behind what was sent")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(None, description="of the client's local training")
    local_steps: _Count | None = Field(None, description="optimizer steps of the client, all epochs together")
    procedure: dict[str, JsonValue] | None = Field(None, description="how the client trains, as `client` in an audit file")
    defenses: tuple[JsonValue, ...] | None = Field(
        None, max_length=20, description="what was put on it before it was sent, as `defenses` in an audit file"
    )
    privacy: tuple[Spent, ...] | None = Field(None, max_length=10_000, description="the ledger of an accountant of DP-SGD")
    inputs: Pixels | None = Field(None, description="what the network takes")
    metrics: dict[str, JsonValue] = Field(default_factory=dict, description="what was sent along in clear")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="what the server had sent along")

    @field_validator("procedure", "defenses")
    @classmethod
    def _names_no_code(cls, named: _Named) -> _Named:
        """A file from elsewhere may name what is registered here, and nothing that an import would run."""
        for text in _texts(named):
            if ":" in text or "/" in text or "\\" in text:
                raise ValueError(f"{text[:40]!r} names code or a file, expected the names of registered algorithms alone")
        return named


def parsed(text: bytes, where: str) -> Manifest:
    """Return the manifest of a `capture.json`. Raises UsageError for anything else."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(
            f"{where}: is no capture ({_first(error)}), expected {FORMAT} {VERSION}; see  leakgauge schema --kind capture"
        ) from error


def made(**fields: Any) -> Manifest:
    """Return a manifest of values from a program. Raises UsageError for one that does not fit."""
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"capture.{_first(error)}; expected as in  leakgauge schema --kind capture") from error


def _first(error: ValidationError) -> str:
    """The first of what is wrong, in a line of bounded length."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:80]
    return " ".join(f"{place}: {first['msg']}".removeprefix(": ").split())[:200]


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain values, keys as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield name
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def capture_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `capture.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}


def plain(values: Mapping[Any, Any]) -> dict[str, JsonValue]:
    """Return metrics or settings as JSON holds them: numbers of any library as numbers, bytes by their length, all else as text."""
    return {str(name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> JsonValue:
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0):
        value = value.item()
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < _WHOLE else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return value[:_LONGEST]
        case bytes() | bytearray():
            return f"{len(value)} bytes"
        case Mapping():
            return plain(value)
        case list() | tuple():
            return [_plain(one) for one in value[:_MOST]]
        case _:
            return type(value).__name__


_WHOLE = 2**63
"""Whole numbers from here on do not fit into what many readers of JSON keep them in, and are written as text."""
_PIXELS = 10**8
"""Numbers of one example, at most."""
_LONGEST, _MOST = 1000, 100
"""Characters of a text, and entries of a list, that are kept."""
