"""The files of a report: `report.html` for people and `audit.json` for programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, final

from pydantic import TypeAdapter

from leakgauge.auditing.record import SCHEMA_VERSION, Record
from leakgauge.core.errors import UsageError
from leakgauge.report.page import render
from leakgauge.report.redaction import redacted
from leakgauge.report.view import Audited
from leakgauge.results.store import Store


@final
@dataclass(frozen=True)
class Document:
    """What `audit.json` holds."""

    audits: tuple[Record, ...]
    schema_version: Literal[1] = SCHEMA_VERSION


def write_report(root: Path, *, to: Path | None = None, is_redacted: bool = False) -> Path:
    """Write `report.html` and `audit.json` for all audits of a store, into its folder or another; returns the path of the page.

    A redacted one holds every number and nothing private, and is `redacted.html` and `redacted.json`. Raises UsageError if the
    store cannot be read, or the folder not written to.
    """
    audits = audits_of(root)
    if is_redacted:
        audits = [redacted(audited) for audited in audits]
    folder = root if to is None else to
    page, records = (
        folder / name for name in (("redacted.html", "redacted.json") if is_redacted else ("report.html", "audit.json"))
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(render(audits, is_redacted=is_redacted), encoding="utf-8")
        records.write_bytes(to_json([audited.record for audited in audits]))
    except OSError as error:
        raise UsageError(
            f"report: cannot be written to {str(folder)!r} ({error.strerror}), expected a folder of yours; choose one with --to"
        ) from error
    return page


def audits_of(root: Path) -> list[Audited]:
    """Return all audits of a store, by name. Raises UsageError if it cannot be read."""
    store = Store(root)
    return sorted((Audited(record, store.images(record.key)) for record in store.records()), key=_by_name)


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
