"""Locks that end with the process that holds them, however it ends: the system gives them back, and no clock is asked.

A lock is a file under flock(2), on this machine and on file systems that pass such locks on, as NFS does. Where there are none,
nobody can tell who is at work: then everyone may.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
_MOMENT = 0.002
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


@final
@dataclass(frozen=True)
class Lock:
    """A lock that is held, by its file; None where the file system has no locks."""

    path: Path
    file: int | None

    def release(self) -> None:
        """Give the lock back, and remove its file while nobody else can have it."""
        if self.file is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            os.close(self.file)


def take(path: Path) -> Lock | None:
    """Return the lock of a file, which is made if it is not there; None while another process, or anyone in this one, holds it.

    Raises OSError where the file cannot be made.
    """
    if sys.platform == "win32":
        return Lock(path, None)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            return None if error.errno in _TAKEN else Lock(path, None)
        if _is_at(file, path):
            return Lock(path, file)
        os.close(file)  # whoever held it has removed the file meanwhile: that lock is nobody's


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the lock of a folder that is one's own, and not there yet."""
    while (lock := take(path.with_name(path.name + LOCK))) is None:
        time.sleep(_MOMENT)  # somebody who clears up has found its file before it was locked, and lets it go again
    try:
        yield
    finally:
        lock.release()


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
