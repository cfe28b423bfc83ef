"""Which audits of a folder this process runs: each is run by one, of however many processes there are."""

from __future__ import annotations

from typing import final

from leakgauge.auditing.record import Record
from leakgauge.core.errors import UsageError
from leakgauge.results.locks import Lock
from leakgauge.results.store import Store


@final
class Claims:
    """The claims that are held, and what was there of audits that others had claimed when they were first asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.held: dict[str, Lock] = {}
        self.seen: dict[str, tuple[int, int] | None] = {}

    def take(self, key: str) -> bool:
        """Claim an audit; False while another process has it."""
        lock = self.store.claim(key)
        if lock is None:
            self.seen.setdefault(key, self.store.stamp(key))
            return False
        self.held[key] = lock
        return True

    def ended(self, key: str) -> Record | None:
        """Return the record of an audit that another process has run since it was asked for; None where there is none.

        For who holds its claim. One that is finished counts; one that failed does if it failed meanwhile, and not before.
        """
        stamp = self.store.stamp(key)
        try:
            if stamp is None:
                return None
            if self.store.has(key) or (key in self.seen and self.seen[key] != stamp):
                return self.store.load(key)
        except UsageError:  # damaged: it is run, and replaced
            return None
        return None

    def release(self, key: str) -> None:
        """Give an audit back."""
        if (lock := self.held.pop(key, None)) is not None:
            lock.release()

    def release_all(self) -> None:
        """Give all audits back."""
        for key in list(self.held):
            self.release(key)
