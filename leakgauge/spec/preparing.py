"""From a spec to a scene and a plan: draw the secret, build the victim, train it on other data, put all on the device."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import NamedTuple, final

import torch
from torch import Tensor

from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.training import Training, cached, train
from leakgauge.core.adopting import with_weights
from leakgauge.core.devices import device_named
from leakgauge.core.errors import UsageError
from leakgauge.core.intake import taken_in
from leakgauge.core.protocols import Pool
from leakgauge.core.rng import stream
from leakgauge.core.snapshots import snapshot
from leakgauge.core.threat import copies
from leakgauge.core.types import Batch, Model, Tick, Update, no_tick
from leakgauge.core.weights import update_between
from leakgauge.spec.building import build
from leakgauge.spec.describing import describe, describe_value
from leakgauge.spec.document import AuditSpec, Draw, Recorded


@final
class Sides(NamedTuple):
    """Who has which examples; no example is on two sides."""

    secret: Batch
    lessons: Batch  # what a victim learned from, if it is trained
    public: Batch


def prepare(spec: AuditSpec, device: str = "cpu", tick: Tick = no_tick) -> tuple[Scene, Plan]:
    """Return what an audit runs on. One seed gives one victim and one secret batch, whatever the attack and the defense.

    The secret is never among the public data, nor is a copy of it. A victim that is trained is trained on half of the public
    data; the other half stays public, so that images the secret is compared with are as new to the victim as the secret is.
    `tick` hears of the training. Raises UsageError where data, victim, batch and device do not fit together.
    """
    parts, place = spec.parts, device_named(device)
    pool = parts.data.load()
    secret, lessons, public = divide(pool, parts.batch, parts.seed, is_trained=parts.training.steps > 0)
    model = parts.victim.build(pool.inputs, rng=stream(parts.seed, "victim")).to(place)
    _check_fit(model, secret.to(place), spec.config["victim"]["name"])
    update = None
    if parts.update is not None:
        model, update = _recorded(model, parts.update, len(secret))
    if parts.training.steps:
        model = _trained(model, lessons, spec, tick)
    scene = Scene(
        model=model,
        secret=secret.to(place),
        public=public.to(place) if len(public) else None,
        class_names=pool.class_names,
        update=update,
    )
    plan = Plan(
        client=parts.client,
        defenses=parts.defenses,
        rounds=parts.rounds,
        threat=parts.threat,
        attack=parts.attack,
        control=parts.control,
        controls=parts.controls,
        blind=build("attack", "mean_image"),
        metrics=parts.metrics,
        criteria=parts.criteria,
        seed=parts.seed,
    )
    return scene, plan


def _recorded(model: Model, recorded: Recorded, examples: int) -> tuple[Model, Update]:
    """The model at the weights before, and the update between the two files."""
    before = snapshot("update.before", recorded.before, list(model.net.state_dict()))
    started = with_weights(model, before, "update.before")
    update = update_between(started, recorded.after, model=started, examples=examples)
    return started, taken_in(update, started)


def divide(pool: Pool, batch: Draw, seed: int, *, is_trained: bool) -> Sides:
    """Return what is secret, what a victim that is trained learns from, and what is public. Raises UsageError as `draw` does."""
    check_pool(pool)
    rows = draw(batch, pool, seed)
    secret, others = Batch(pool.x[rows], pool.y[rows]), _others(pool, rows)
    if not is_trained:
        return Sides(secret, others[:0], others)
    order = torch.randperm(len(others), generator=stream(seed, "training split"))
    half = len(order) // 2
    return Sides(secret, others[order[:half]], others[order[half:]])


def draw(batch: Draw, pool: Pool, seed: int) -> Tensor:
    """Return the rows [n] of the secret examples. Raises UsageError if the data has no such batch."""
    if batch.indices is not None:
        if max(batch.indices) >= len(pool):
            raise UsageError(
                f"batch.indices: got {max(batch.indices)}, expected numbers from 0 to {len(pool) - 1}; correct the list"
            )
        return torch.tensor(batch.indices)
    size = batch.size or 1
    if size > len(pool):
        raise UsageError(f"batch.size: got {size}, expected at most the {len(pool)} examples of the data; lower it")
    order = torch.randperm(len(pool), generator=stream(seed, "batch"))
    classes = pool.y[order].tolist()
    match batch.labels:
        case "random":
            return order[:size]
        case "unique":
            first = list({label: place for place, label in reversed(list(enumerate(classes)))}.values())
            if size > len(first):
                raise UsageError(f"batch.size: got {size}, expected at most the {len(first)} classes of the data for unique labels")
            return order[sorted(first)[:size]]
        case "same":
            for label in dict.fromkeys(classes):
                members = [place for place, other in enumerate(classes) if other == label]
                if len(members) >= size:
                    return order[members[:size]]
            most = max(classes.count(label) for label in set(classes))
            raise UsageError(f"batch.size: got {size}, expected at most the {most} examples of the largest class for same labels")
        case "pairs" | "one_repeated":
            return order[_patterned(batch.labels, classes, size)]


def _patterned(pattern: str, classes: list[int], size: int) -> list[int]:
    """The places of the first examples that show a pattern of duplicate labels; `classes` are in the order of the draw."""
    places: dict[int, list[int]] = {}
    for place, label in enumerate(classes):
        places.setdefault(label, []).append(place)
    half = size // 2
    if pattern == "pairs":
        found = [place for members in places.values() if len(members) >= 2 for place in members[:2]][:size]
        room = 2 * sum(len(members) >= 2 for members in places.values())
    else:
        first = next((label for label, members in places.items() if len(members) >= half), None)
        others = [members for label, members in places.items() if label != first]
        turns = [place for turn in itertools.zip_longest(*others) for place in turn if place is not None]
        found = [] if first is None else places[first][:half] + turns[:half]
        room = 2 * min(max(len(members) for members in places.values()), len(turns))
    if size % 2 or len(found) < size:
        raise UsageError(
            f"batch.size: got {size}, expected an even number up to {room} for {pattern} labels of this data; change it"
        )
    return found


def _others(pool: Pool, rows: Tensor) -> Batch:
    """All examples that are neither secret nor a copy of a secret one."""
    keep = ~copies(pool.x, pool.x[rows])
    return Batch(pool.x[keep], pool.y[keep])


def _trained(model: Model, lessons: Batch, spec: AuditSpec, tick: Tick) -> Model:
    parts, place = spec.parts, next(iter(model.params.values())).device
    if not len(lessons):
        raise UsageError(
            f"training.steps: got {parts.training.steps}, but no data is left beside the secret; take a smaller batch, or 0 steps"
        )
    identity = {
        "victim": describe("victim", parts.victim),
        "training": describe_value(Training, parts.training, "training"),
        "seed": parts.seed,
        "data": [_digest(lessons.x), _digest(lessons.y)],
        "inputs": repr(model.inputs),
        "device": place.type,
        "torch": torch.__version__,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    rng = stream(parts.seed, "training")
    return cached(key, model, lambda: train(model, lessons.to(place), parts.training, rng=rng, tick=tick))


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().data).hexdigest()


def check_pool(pool: Pool) -> None:
    """Raise UsageError for data that are not what they say they are."""
    if not len(pool):
        raise UsageError("data: holds no example, expected at least one; choose other data")
    if tuple(pool.x.shape[1:]) != pool.inputs.shape:
        raise UsageError(f"data: holds examples of shape {tuple(pool.x.shape[1:])}, expected {pool.inputs.shape} as it declares")
    if len(pool.y) != len(pool) or int(pool.y.min()) < 0 or int(pool.y.max()) >= pool.inputs.classes:
        raise UsageError(f"data: its labels are not one of 0 to {pool.inputs.classes - 1} for each example; correct the data")


def _check_fit(model: Model, secret: Batch, victim: str) -> None:
    expected = (1, model.inputs.classes)
    try:
        with torch.no_grad():
            found = tuple(model.logits(torch.zeros_like(secret.x[:1])).shape)
    except UsageError as error:
        if error.__cause__ is None:
            raise
        cause = str(error.__cause__).partition("\n")[0]
        raise UsageError(
            f"victim: {victim!r} cannot take examples of shape {tuple(secret.x.shape[1:])} ({cause}); choose another victim or size"
        ) from error
    if found != expected:
        raise UsageError(f"victim: {victim!r} gives outputs {found} for one example, expected {expected}; one for each class")
