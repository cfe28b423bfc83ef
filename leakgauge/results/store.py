"""Results on disk: one folder per audit, readable without torch and without any plugin, never unpickled.

    ROOT/KEY/    see leakgauge/results/folder.py

Any number of processes read and write it at the same time, on one machine or several. A folder is written under a temporary name
and renamed, so that it is there whole or not at all; whoever writes holds a lock, so that what the dead left is told from what the
living do.
"""

from __future__ import annotations

import errno
import logging
import marshal
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from leakgauge.auditing.record import Record
from leakgauge.core.errors import UsageError
from leakgauge.core.private import FOLDER
from leakgauge.results.folder import RECORD, TENSORS, read_images, read_record, reason, sync, write
from leakgauge.results.locks import LOCK, Lock, holding, take

if TYPE_CHECKING:
    from leakgauge.auditing.outcome import Images

FINISHED = frozenset({"ok", "diverged", "out_of_scope"})
"""The endings that stand; an audit that failed or ran out of time is run again."""
_LOOKS, _PAUSE = 60, 0.005
"""How often, and after how many seconds, a folder that is being replaced is looked at again before it counts as damaged."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Store:
    """The audits below one folder."""

    root: Path

    def open(self) -> None:
        """Make the folder, and sure that it can be written to. Raises UsageError otherwise."""
        try:
            self.root.mkdir(FOLDER, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise UsageError(
                f"out: cannot write to {str(self.root)!r} ({error.strerror}), expected a folder; choose another one"
            ) from error
        self._sweep(".partial-*")
        self._sweep(".claim-*")

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
        """All records, in the order of their keys; what is equal in them is there once. Raises UsageError as `load` does."""
        known: dict[bytes, Any] = {}
        for key in self.keys():
            record = self.load(key)
            spec = {name: known.setdefault(_mark(name, part), part) for name, part in record.spec.items()}
            environment = known.setdefault(_mark("environment", record.environment), record.environment)
            yield replace(record, spec=spec, environment=environment)

    def load(self, key: str) -> Record:
        """Read a record. Raises UsageError if it is missing, damaged, of another format, or none that an audit writes."""
        return self._steadily(key, read_record)

    def images(self, key: str) -> dict[str, NDArray[np.float32]]:
        """Read the images by name, each [n, *shape]; none for an audit that failed.

        Raises UsageError as `load` does, and for images that do not fit the record.
        """
        return self._steadily(key, read_images)

    def has(self, key: str) -> bool:
        """Whether an audit is finished and whole. Raises UsageError if it is damaged."""
        if self.stamp(key) is None:
            return False
        self.images(key)
        return self.load(key).status in FINISHED

    def stamp(self, key: str) -> tuple[int, int] | None:
        """Something that is another once an audit was written again; None where there is none."""
        try:
            found = (self.root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_ino, found.st_mtime_ns

    def claim(self, key: str) -> Lock | None:
        """Return the lock of whoever runs an audit; None while another process runs it. Raises UsageError as `save` does."""
        try:
            return take(self.root / f".claim-{key}{LOCK}")
        except OSError as error:
            raise self._unwritable(key, error) from error

    def save(self, record: Record, images: Images | None = None) -> None:
        """Write an audit, whole or not at all. One that is finished is left as it is.

        Raises UsageError if the disk is full or does not let itself be written to.
        """
        partial = self._aside(record.key)
        try:
            self.root.mkdir(FOLDER, parents=True, exist_ok=True)
            with holding(partial):
                try:
                    write(partial, record, images)
                    self._put(partial, record.key)
                    sync(self.root)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        except (OSError, SafetensorError) as error:
            raise self._unwritable(record.key, error) from error

    def discard_partial(self, key: str, pid: int) -> None:
        """Remove what a process that was killed had begun to write."""
        self._sweep(f".partial-{key}-{pid}-*", are_dead=True)

    def set_aside(self, key: str) -> Path | None:
        """Rename a damaged audit, so that it can be run again and looked into; returns its new place.

        None where there is nothing to set aside: another process has done so, or put a whole one in its place, which stays.
        """
        number, private = 1, self._aside(key)
        while (aside := self.root / f"{key}.corrupt-{number}").exists():
            number += 1
        with holding(private):
            try:
                (self.root / key).rename(private)
            except OSError:
                return None
            if _is_sound(private, key):  # it was damaged when it was read, and has been replaced since
                self._put(private, key)
                return None
            private.rename(aside)
        log.warning("the audit %s is damaged: set aside as %s", key, aside.name)
        return aside

    def _steadily(self, key: str, read: Callable[[Path, str], T]) -> T:
        """Read an audit; where it is replaced meanwhile, once more: what is not there just now is not damaged."""
        for _ in range(_LOOKS):
            before = self.stamp(key)
            try:
                return read(self.root / key, key)
            except UsageError:
                if before is not None and self.stamp(key) == before:
                    raise
            time.sleep(_PAUSE)
        return read(self.root / key, key)

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

    def _aside(self, key: str) -> Path:
        """A name that nobody else has, for what is not whole yet."""
        return self.root / f".partial-{key}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def _sweep(self, pattern: str, *, are_dead: bool = False) -> None:
        """Remove what those left who are dead: whose lock can be had, or who are known to be."""
        with suppress(OSError):  # another process sweeps as well
            for name in {path.name.removesuffix(LOCK) for path in self.root.glob(pattern)}:
                lock = take(self.root / f"{name}{LOCK}")
                if lock is not None and (are_dead or lock.file is not None):
                    shutil.rmtree(self.root / name, ignore_errors=True)
                    lock.release()

    def _unwritable(self, key: str, error: Exception) -> UsageError:
        return UsageError(
            f"out: cannot write the audit {key!r} to {str(self.root)!r} ({reason(error)}); "
            "finished audits are kept: make room and run the same command again"
        )


def _mark(name: str, part: Any) -> bytes:
    """What tells a part of a record from others."""
    return marshal.dumps((name, part), 2)  # later formats depend on who else holds an object


def _is_sound(folder: Path, key: str) -> bool:
    try:
        read_images(folder, key)
    except UsageError:
        return False
    return True
