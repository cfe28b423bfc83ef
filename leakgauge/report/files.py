"""The files of a report: `report.html` for people and `audit.json` for programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, final

from pydantic import TypeAdapter

from leakgauge.auditing.record import SCHEMA_VERSION, Record
from leakgauge.report.page import render
from leakgauge.report.view import Audited
from leakgauge.results.store import Store


@final
@dataclass(frozen=True)
class Document:
    """What `audit.json` holds."""

    audits: tuple[Record, ...]
    schema_version: Literal[1] = SCHEMA_VERSION


def write_report(root: Path) -> Path:
    """Write `report.html` and `audit.json` for all audits of a store; returns the path of the page.

    Raises UsageError if the store cannot be read.
    """
    store = Store(root)
    audits = sorted((Audited(record, store.images(record.key)) for record in store.records()), key=_by_name)
    page = root / "report.html"
    page.write_text(render(audits), encoding="utf-8")
    (root / "audit.json").write_bytes(to_json([audited.record for audited in audits]))
    return page


def to_json(records: list[Record]) -> bytes:
    """Records as one JSON document that follows `json_schema()`."""
    return _adapter().dump_json(Document(tuple(records)), indent=2) + b"\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json`."""
    return _adapter().json_schema(mode="serialization")


def _by_name(audited: Audited) -> tuple[str, str]:
    return audited.record.name, audited.record.key


@cache
def _adapter() -> TypeAdapter[Document]:
    return TypeAdapter(Document)
