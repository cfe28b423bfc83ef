"""What can go wrong, and how it is said.

* LeakgaugeError          every error that leakgauge raises on purpose
  - UsageError            bad input: one line with the key, the value, what was expected and the remedy; exit code 2
    - MissingExtra        an optional dependency is not installed; the line says which extra to install
  - OutOfScope            a sound request that this algorithm cannot answer (a record's status, never a crash)

Numerical failure is no error but a `Status`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import final


class LeakgaugeError(Exception):
    """Every error that leakgauge raises on purpose."""


class UsageError(LeakgaugeError):
    """Bad input. The message is one line: key, value, expectation, remedy."""


@final
class MissingExtra(UsageError):
    """An optional dependency is not installed.

    `what` is the feature that wants it, `extra` the name in `leakgauge[extra]`.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: install it with  pip install 'leakgauge[{extra}]'")


@final
class OutOfScope(LeakgaugeError):
    """The algorithm does not apply here (a convolution where a linear layer is needed, say)."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest known word, or the list of known words."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


def one_line(error: BaseException) -> str:
    """Return what another library says went wrong, fit to stand in a UsageError."""
    return " ".join(str(error).split())[:_LENGTH]


_LENGTH = 300
