"""A part of an audit's file in a line, as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def phrase(value: Any) -> str:
    """Return a config in a few words: `pruning(share=0.9), clipping(norm=1.0)`; what is not there is `none`."""
    if isinstance(value, Mapping):
        name = value.get("name", "")
        rest = ", ".join(f"{key}={phrase(part)}" for key, part in value.items() if key != "name")
        return f"{name}({rest})" if name and rest else str(name or f"({rest})")
    if isinstance(value, list | tuple):
        return ", ".join(phrase(part) for part in value) or "none"
    return "none" if value is None else str(value)
