"""Names of tensors as wrappers of networks change them: DataParallel, torch.compile, Opacus, FSDP, activation checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar, final

from leakgauge.core.errors import UsageError

T = TypeVar("T")

_WRAPPERS = frozenset({"module", "_orig_mod", "_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What wrappers call the network that they hold."""


@final
class Unwrapped(NamedTuple):
    """New names by old ones, of those that changed, and which wrappers left the difference."""

    names: Mapping[str, str]
    wrappers: tuple[str, ...]

    def __call__(self, values: Mapping[str, T]) -> dict[str, T]:
        """Return values under their new names."""
        return {self.names.get(name, name): value for name, value in values.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done, a sentence where anything was."""
        told = f"{len(self.names)} names of tensors differ by what wrappers add ({', '.join(self.wrappers)}), and were matched."
        return (told,) if self.names else ()


def unwrapped(names: Iterable[str], known: Iterable[str]) -> Unwrapped:
    """Return what names are called in a network, where the parts that wrappers add, in any order and number, are all that differs.

    A name that the network has stays as it is, and so does one that matches nothing. Raises UsageError for two names that would
    become one.
    """
    given, there = list(names), set(known)
    bare: dict[str, list[str]] = {}
    for name in sorted(there):
        bare.setdefault(_bare(name), []).append(name)
    found: dict[str, str] = {}
    taken = {name: name for name in given if name in there}
    for name in given:
        fitting = bare.get(_bare(name), []) if name not in there else []
        if len(fitting) != 1:
            continue
        if fitting[0] in taken:
            raise UsageError(
                f"names: {name!r} and {taken[fitting[0]]!r} are both {fitting[0]!r} of the model, expected one of them; drop one"
            )
        taken[fitting[0]] = name
        found[name] = fitting[0]
    wrappers = {part for pair in found.items() for part in set(pair[0].split(".")) ^ set(pair[1].split("."))}
    return Unwrapped(found, tuple(sorted(wrappers & _WRAPPERS)))


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
