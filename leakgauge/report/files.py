"""The files of a report: `report.html` for people and `audit.json` for programs.

Of more than a few dozen audits, `report.html` is an overview, and each has a page of its own in `audits/`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, final

from pydantic import TypeAdapter

from leakgauge.auditing.record import SCHEMA_VERSION, Record
from leakgauge.core.errors import UsageError
from leakgauge.core.private import FOLDER, write_open, write_private
from leakgauge.report.page import render, render_overview
from leakgauge.report.redaction import redacted_record
from leakgauge.report.view import Audited
from leakgauge.results.folder import adapter
from leakgauge.results.rescoring import Rescoring, rescored
from leakgauge.results.store import Store

MANY = 48
"""Up to so many audits are on one page."""


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
    store, folder = Store(root), root if to is None else to
    records = sorted(map(partial(_changed, is_redacted=is_redacted, by=by), store.records()), key=_by_name)
    stem = "-".join([*(["rescored"] if by else []), *(["redacted"] if is_redacted else [])])
    page, document = folder / f"{stem or 'report'}.html", folder / f"{stem or 'audit'}.json"
    write = write_open if is_redacted else write_private

    def shown(record: Record) -> Audited:
        return Audited(record, {} if is_redacted else store.images(record.key))

    try:
        folder.mkdir(FOLDER, parents=True, exist_ok=True)
        write(document, json_parts(records))
        if len(records) <= MANY:
            write(page, [render([shown(record) for record in records], is_redacted=is_redacted).encode()])
            return page
        pages = folder / (stem or "audits")
        pages.mkdir(FOLDER, exist_ok=True)
        links = [f"{pages.name}/{record.key}.html" for record in records]
        write(page, [render_overview(records, links, is_redacted=is_redacted).encode()])
        for record, link in zip(records, links, strict=True):
            mark = _mark(record)
            if not _ends_with(folder / link, mark):  # a sweep that goes on makes the new pages alone
                write(folder / link, [render([shown(record)], is_redacted=is_redacted).encode(), mark])
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
    records = map(partial(_changed, is_redacted=is_redacted, by=by), store.records())
    return [Audited(record, {} if is_redacted else store.images(record.key)) for record in sorted(records, key=_by_name)]


def _changed(record: Record, *, is_redacted: bool, by: Rescoring | None) -> Record:
    """A record as it is to be told."""
    told = record if by is None else rescored(record, by)
    return redacted_record(told) if is_redacted else told


def _mark(record: Record) -> bytes:
    """What a page of a record ends with, as this version of leakgauge makes it."""
    digest = hashlib.sha256(version("leakgauge").encode() + adapter().dump_json(record)).hexdigest()
    return f"<!-- {digest} -->\n".encode()


def _ends_with(page: Path, mark: bytes) -> bool:
    try:
        return page.read_bytes().endswith(mark)
    except FileNotFoundError:
        return False


def json_parts(records: Iterable[Record]) -> Iterator[bytes]:
    """Records as one JSON document that follows `json_schema()`, piece by piece: thousands of them would fill the memory."""
    whole = _adapter().dump_json(Document(()), indent=2)
    before, after = whole.split(b"[]", 1)
    separator = b"["
    yield before
    for record in records:
        yield separator + b"\n    " + adapter().dump_json(record, indent=2).replace(b"\n", b"\n    ")
        separator = b","
    yield (b"[]" if separator == b"[" else b"\n  ]") + after + b"\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json`."""
    return _adapter().json_schema(mode="serialization")


def _by_name(record: Record) -> tuple[str, str]:
    return record.name, record.key


@cache
def _adapter() -> TypeAdapter[Document]:
    return TypeAdapter(Document)
