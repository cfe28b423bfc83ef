"""How a check fails."""

from __future__ import annotations


def expect(holds: bool, otherwise: str) -> None:
    """Raise AssertionError with the line `otherwise` unless the condition holds (unlike `assert`, under `python -O` as well)."""
    if not holds:
        raise AssertionError(otherwise)
