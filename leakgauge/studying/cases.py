"""From a block to its audits or its trainings, each checked before any of them runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, final

from leakgauge.core.errors import UsageError
from leakgauge.core.reading import override, put
from leakgauge.spec import document, federating
from leakgauge.spec.document import AuditSpec, key
from leakgauge.spec.federating import FederationSpec
from leakgauge.studying.blocks import Block, Changes, Level

_AUDIT = frozenset({"name", *(field.name for field in fields(document.Parts))})
_TRAINING = frozenset({"name", "rounds", "every", *(field.name for field in fields(federating.Parts))})

Spec = TypeVar("Spec")
Complete = Callable[[Mapping[str, Any]], dict[str, Any]]


@final
@dataclass(frozen=True)
class Case:
    """One point of a block. Cases that come to the same audit share its key, and it runs once."""

    block: str
    levels: Mapping[str, Level]
    spec: AuditSpec
    key: str


@final
@dataclass(frozen=True)
class Course:
    """One point of a block of trainings: a federation, over so many rounds."""

    block: str
    levels: Mapping[str, Level]
    spec: FederationSpec
    key: str


def points(block: Block, *, is_quick: bool = False, overrides: Sequence[str] = ()) -> Iterator[Case]:
    """Yield the audits of a block, the last factor changing fastest; `a.b=value` overrides change its base.

    Raises UsageError, naming the point, for the first that is no sound audit.
    """
    for levels, spec in _read(block, document.parse, document.complete, is_quick, overrides):
        yield Case(block.name, levels, spec, key(spec))


def courses(block: Block, *, is_quick: bool = False, overrides: Sequence[str] = ()) -> Iterator[Course]:
    """Yield the trainings of a block, as `points` does its audits."""
    for levels, spec in _read(block, federating.parse, federating.complete, is_quick, overrides):
        yield Course(block.name, levels, spec, f"{spec.key}-{spec.rounds}")


def shared_out(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of a study of both kinds that are for its audits, and those for its trainings; others are in both."""
    settings = {one: one.partition("=")[0].partition(".")[0].strip() for one in overrides}
    audits, trainings = (
        [one for one in overrides if settings[one] not in away] for away in (_TRAINING - _AUDIT, _AUDIT - _TRAINING)
    )
    return audits, trainings


def _read(
    block: Block, parse: Callable[[Mapping[str, Any]], Spec], complete: Complete, is_quick: bool, overrides: Sequence[str]
) -> Iterator[tuple[Mapping[str, Level], Spec]]:
    base = _changed(complete(block.base), block.briefly if is_quick else {}, complete)
    for assignment in overrides:
        base = complete(override(base, assignment))
    kept = [block.kept(factor, is_quick=is_quick) for factor in block.factors]
    for labels in itertools.product(*kept):
        point = dict(zip(block.factors, labels, strict=True))
        if not block.where(point):
            continue
        name = ", ".join([block.name, *(f"{factor} {label}" for factor, label in point.items())])
        own = {**base, "name": name}
        try:
            for factor, label in point.items():
                own = _changed(own, block.factors[factor][label], complete)
            yield point, parse(_changed(own, block.joint(point), complete))
        except UsageError as error:
            raise UsageError(f"at {name}: {error}") from error


def _changed(own: dict[str, Any], changes: Changes, complete: Complete) -> dict[str, Any]:
    for path, value in changes.items():
        own = complete(put(own, path, value))
    return own
