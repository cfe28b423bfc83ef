"""The files of a report: `report.html` for people and `audit.json` for programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, final

from pydantic import TypeAdapter

from leakgauge.auditing.record import SCHEMA_VERSION, Record
from leakgauge.core.errors import UsageError
from leakgauge.core.private import FOLDER, write_private
from leakgauge.report.page import render
from leakgauge.report.redaction import redacted
from leakgauge.report.view import Audited
from leakgauge.results.rescoring import Rescoring, rescored
from leakgauge.results.store import Store


@final
@dataclass(frozen=True)
class Document:
    """What `audit.json` holds."""

    audits: tuple[Record, ...]
    schema_version: Literal[1] = SCHEMA_VERSION


def write_report(root: Path, *, to: Path | None = None, is_redacted: bool = False, by: Rescoring | None = None) -> Path:
    """Write `report.html` and `audit.json` for all audits of a store, into its folder or another; returns the path of the page.

    Judged by other criteria, they are `rescored.html` and `rescored.json`. A redacted report holds every number and nothing
    private, and is `redacted.html` and `redacted.json`, or `rescored-redacted.html` and so on. Raises UsageError if the store
    cannot be read, its audits cannot be judged so, or the folder not written to.
    """
    audits = audits_of(root, is_redacted=is_redacted, by=by)
    folder = root if to is None else to
    stem = "-".join([*(["rescored"] if by else []), *(["redacted"] if is_redacted else [])])
    page, records = folder / f"{stem or 'report'}.html", folder / f"{stem or 'audit'}.json"
    try:
        folder.mkdir(FOLDER, parents=True, exist_ok=True)
        write = Path.write_bytes if is_redacted else write_private
        write(page, render(audits, is_redacted=is_redacted).encode())
        write(records, to_json([audited.record for audited in audits]))
    except OSError as error:
        raise UsageError(
            f"report: cannot be written to {str(folder)!r} ({error.strerror}), expected a folder of yours; choose one with --to"
        ) from error
    return page


def audits_of(root: Path, *, is_redacted: bool = False, by: Rescoring | None = None) -> list[Audited]:
    """Return all audits of a store, by name; `by` are criteria to judge them by, in place of their own.

    Raises UsageError if the store cannot be read, or its audits cannot be judged so.
    """
    store = Store(root)
    records = (record if by is None else rescored(record, by) for record in store.records())
    audits = sorted((Audited(record, store.images(record.key)) for record in records), key=_by_name)
    return [redacted(audited) for audited in audits] if is_redacted else audits


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
