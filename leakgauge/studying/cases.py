"""From a block to its audits, each checked before any of them runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from leakgauge.core.errors import UsageError
from leakgauge.spec.document import AuditSpec, complete, key, parse
from leakgauge.spec.reading import override, put
from leakgauge.studying.blocks import Block, Changes, Level


@final
@dataclass(frozen=True)
class Case:
    """One point of a block. Cases that come to the same audit share its key, and it runs once."""

    block: str
    levels: Mapping[str, Level]
    spec: AuditSpec
    key: str


def points(block: Block, *, is_quick: bool = False, overrides: Sequence[str] = ()) -> Iterator[Case]:
    """Yield the points of a block, the last factor changing fastest; `a.b=value` overrides change its base.

    Raises UsageError, naming the point, for the first that is no sound audit.
    """
    base = _changed(complete(block.base), block.briefly if is_quick else {})
    for assignment in overrides:
        base = complete(override(base, assignment))
    kept = [block.kept(factor, is_quick=is_quick) for factor in block.factors]
    for labels in itertools.product(*kept):
        point = dict(zip(block.factors, labels, strict=True))
        if block.where(point):
            yield _case(block, base, point)


def _case(block: Block, base: Mapping[str, Any], point: Mapping[str, Level]) -> Case:
    name = ", ".join([block.name, *(f"{factor} {label}" for factor, label in point.items())])
    document = {**base, "name": name}
    try:
        for factor, label in point.items():
            document = _changed(document, block.factors[factor][label])
        spec = parse(_changed(document, block.joint(point)))
    except UsageError as error:
        raise UsageError(f"at {name}: {error}") from error
    return Case(block.name, point, spec, key(spec))


def _changed(document: dict[str, Any], changes: Changes) -> dict[str, Any]:
    for path, value in changes.items():
        document = complete(put(document, path, value))
    return document
