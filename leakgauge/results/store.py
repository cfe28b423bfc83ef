"""Results on disk: one folder per audit, readable without torch and without any plugin, never unpickled.

    ROOT/KEY/record.json            the record, plain JSON
    ROOT/KEY/tensors.safetensors    its images: "truth", where it is there, and "guess.TRIAL" for every trial

A folder is written under a temporary name and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from leakgauge.auditing.record import Record
from leakgauge.core.errors import UsageError
from leakgauge.results.soundness import GUESS, TRUTH, faults, misfits

if TYPE_CHECKING:
    from leakgauge.auditing.outcome import Images

RECORD, TENSORS = "record.json", "tensors.safetensors"
FINISHED = frozenset({"ok", "diverged", "out_of_scope"})
"""The endings that stand; an audit that failed or ran out of time is run again."""
STALE = 3600.0
"""Seconds after which what a killed process had begun to write may be removed; writing takes a few."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Store:
    """The audits below one folder. Any number of processes may read and write it at the same time."""

    root: Path

    def open(self) -> None:
        """Make the folder, and sure that it can be written to. Raises UsageError otherwise."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
            for path in self.root.glob(".partial-*"):
                if time.time() - path.stat().st_mtime > STALE:
                    shutil.rmtree(path, ignore_errors=True)
        except OSError as error:
            raise UsageError(
                f"out: cannot write to {str(self.root)!r} ({error.strerror}), expected a folder; choose another one"
            ) from error

    def keys(self) -> list[str]:
        """The keys of all audits, sorted; folders that hold no audit are passed over."""
        try:
            folders = [path for path in self.root.iterdir() if "." not in path.name and path.is_dir()]
        except OSError as error:
            raise UsageError(
                f"{str(self.root)!r}: cannot be read ({error.strerror}), expected a folder with results; run an audit first"
            ) from error
        return sorted(path.name for path in folders if (path / RECORD).exists() or (path / TENSORS).exists())

    def records(self) -> Iterator[Record]:
        """All records, in the order of their keys. Raises UsageError as `load` does."""
        return map(self.load, self.keys())

    def load(self, key: str) -> Record:
        """Read a record. Raises UsageError if it is missing, damaged, of another format, or none that an audit writes."""
        path = self.root / key / RECORD
        try:
            record = _adapter().validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise _damaged(path, _reason(error)) from error
        for fault in faults(record):
            raise _damaged(path, fault)
        if record.key != key:
            raise UsageError(f"{path}: holds the audit {record.key!r}, expected {key!r}; give the folder its name back")
        return record

    def images(self, key: str) -> dict[str, NDArray[np.float32]]:
        """Read the images by name, each [n, *shape]; none for an audit that failed.

        Raises UsageError as `load` does, and for images that do not fit the record: known before any is read.
        """
        path, record = self.root / key / TENSORS, self.load(key)
        try:
            with safe_open(path, framework="numpy") as file:
                found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
                headers = {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in found.items()}
                for fault in misfits(record, headers):
                    raise _damaged(path, fault)
                return {name: file.get_tensor(name) for name in headers}
        except (OSError, SafetensorError) as error:
            raise _damaged(path, _reason(error)) from error

    def has(self, key: str) -> bool:
        """Whether an audit is finished and whole. Raises UsageError if it is damaged."""
        if not (self.root / key).is_dir():
            return False
        record = self.load(key)
        self.images(key)
        return record.status in FINISHED

    def save(self, record: Record, images: Images | None = None) -> None:
        """Write an audit, whole or not at all. One that is finished is left as it is.

        Raises UsageError if the disk is full or does not let itself be written to.
        """
        truth = {} if images is None or images.truth is None else {TRUTH: images.truth}
        tensors = truth | {GUESS + name: x for name, x in (images.guesses if images else {}).items()}
        partial = self.root / f".partial-{record.key}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            partial.mkdir(parents=True)
            _write(partial / RECORD, _adapter().dump_json(record, indent=2))
            save_file({name: np.ascontiguousarray(value.detach().numpy()) for name, value in tensors.items()}, partial / TENSORS)
            _sync(partial / TENSORS)
            _sync(partial)
            self._put(partial, record.key)
            _sync(self.root)
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"out: cannot write the audit {record.key!r} to {str(self.root)!r} ({_reason(error)}); "
                "finished audits are kept: make room and run the same command again"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def discard_partial(self, key: str, pid: int) -> None:
        """Remove what a process that was killed had begun to write."""
        for path in self.root.glob(f".partial-{key}-{pid}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def set_aside(self, key: str) -> Path:
        """Rename a damaged audit, so that it can be run again and looked into; returns its new place."""
        number = 1
        while (aside := self.root / f"{key}.corrupt-{number}").exists():
            number += 1
        (self.root / key).rename(aside)
        log.warning("the audit %s is damaged: set aside as %s", key, aside.name)
        return aside

    def _put(self, partial: Path, key: str) -> None:
        """Rename a complete folder to its key. A folder in its place is replaced, unless it is finished and whole."""
        target, replaced = self.root / key, partial.with_name(f"{partial.name}-replaced")
        while True:
            try:
                partial.rename(target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            else:
                return
            if self._stands(key):
                return
            with suppress(FileNotFoundError):  # another writer has just done the same: look again
                target.rename(replaced)
            shutil.rmtree(replaced, ignore_errors=True)

    def _stands(self, key: str) -> bool:
        try:
            return self.has(key)
        except UsageError:
            return False


def record_schema() -> dict[str, Any]:
    """The JSON Schema of `record.json`."""
    return _adapter().json_schema(mode="serialization")


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Make what was written outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(f"{path}: cannot be read ({reason}), expected what an audit wrote; delete the folder and run the audit again")


def _reason(error: Exception) -> str:
    match error:
        case ValidationError():
            first = error.errors(include_url=False)[0]
            return " ".join([".".join(map(str, first["loc"])), first["msg"]]).strip()
        case OSError(strerror=str() as text):
            return text
        case _:
            return str(error).splitlines()[0]
