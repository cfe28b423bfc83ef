"""Many rounds: from the last checkpoint on, with accuracy measured and a checkpoint written on the way."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from leakgauge.core import tree
from leakgauge.core.errors import UsageError
from leakgauge.core.private import FOLDER
from leakgauge.core.types import Batch, Status
from leakgauge.federation import checkpoints
from leakgauge.federation.evaluation import Accuracy, evaluate
from leakgauge.federation.rounds import Federation, State, start, step

CURVE = "curve.json"


@final
@dataclass(frozen=True)
class Point:
    """How good the model is after a number of rounds, and how long a round took on average since the last point."""

    round: int
    accuracy: Accuracy
    seconds: float


@final
@dataclass(frozen=True)
class Curve:
    """How a training went. `status` is diverged where weights became no numbers, after the last point."""

    points: tuple[Point, ...]
    status: Status = Status.OK
    over: int | None = None  # how many rounds were over when it diverged


def run(
    federation: Federation,
    test: Batch,
    rounds: int,
    *,
    every: int,
    folder: Path,
    made: dict[str, str],
    hear: Callable[[int], None] = lambda _: None,
) -> tuple[State, Curve]:
    """Return the last state and the curve. Every `every` rounds, and after the last, a checkpoint and a point are written.

    Whoever calls again with the same `folder` goes on where it stands, with the same result. `hear` is called after every round,
    with their number. Raises UsageError for a folder of another federation.
    """
    folder.mkdir(FOLDER, parents=True, exist_ok=True)
    state, points = _resumed(federation, folder, made, rounds)
    since = time.perf_counter()
    for number in range(state.round, rounds):
        after, _ = step(federation, state)
        if not bool(tree.squared_norm(after.params).isfinite()):
            return state, _written(folder, Curve(tuple(points), Status.DIVERGED, number))
        state = after
        if (number + 1) % every == 0 or number + 1 == rounds:
            seconds = (time.perf_counter() - since) / (number + 1 - (points[-1].round if points else 0))
            point = Point(state.round, evaluate(federation, state, test), seconds)
            points.append(point)
            checkpoints.save(folder / checkpoint(state.round), state, made)
            _written(folder, Curve(tuple(points)))
            since = time.perf_counter()
        hear(state.round)
    return state, Curve(tuple(points))


def finished(folder: Path, rounds: int) -> Curve | None:
    """Return the curve of a training of so many rounds; None where it has not come to its end, well or not.

    Raises UsageError for a folder whose curve cannot be read.
    """
    curve = _curve(folder)
    points = tuple(point for point in curve.points if point.round <= rounds)
    if points and points[-1].round == rounds:
        return Curve(points)
    return curve if curve.over is not None and curve.over < rounds else None


def checkpoint(number: int) -> str:
    """The name of the file of the state after a number of rounds."""
    return f"round-{number:05d}{checkpoints.SUFFIX}"


def _resumed(federation: Federation, folder: Path, made: dict[str, str], rounds: int) -> tuple[State, list[Point]]:
    """The latest state of so many rounds at most that is on disk together with its point, and the points up to there."""
    points = [point for point in _curve(folder).points if point.round <= rounds]
    for point in reversed(points):
        path = folder / checkpoint(point.round)
        if not path.exists():
            continue
        state, found = checkpoints.load(path)
        if found != made:
            raise UsageError(f"out: {folder} holds another federation ({found}), expected {made}; choose another folder")
        return state, [one for one in points if one.round <= point.round]
    return start(federation), []


def _curve(folder: Path) -> Curve:
    """What is on disk of a curve."""
    path = folder / CURVE
    if not path.exists():
        return Curve(())
    try:
        told = json.loads(path.read_text())
        points = (Point(one["round"], Accuracy(**one["accuracy"]), one["seconds"]) for one in told["points"])
        return Curve(tuple(points), Status(told["status"]), told.get("over"))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"out: {path} holds no curve ({error}), expected what federate has written; remove the folder") from error


def _written(folder: Path, curve: Curve) -> Curve:
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        path = Path(unfinished) / CURVE
        path.write_text(json.dumps(asdict(curve), indent=2))
        path.replace(folder / CURVE)
    return curve
