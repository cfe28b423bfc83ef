"""Whether an update that was recorded is one that this client makes of this batch, and what explains it if it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from math import isclose, log2, sqrt
from typing import Any, NamedTuple

import torch

from leakgauge.core import tree
from leakgauge.core.errors import LeakgaugeError
from leakgauge.core.protocols import Defense
from leakgauge.core.rng import stream
from leakgauge.core.threat import protect
from leakgauge.core.types import Batch, Client, Model, Params, Update


class Fit(NamedTuple):
    """How a recorded update lies to one that is made anew: the cosine of their angle, and the ratio of their lengths."""

    cosine: float
    ratio: float


def mismatch(
    update: Update,
    model: Model,
    batch: Batch,
    *,
    client: Client,
    defenses: Sequence[Defense],
    seed: int,
    others: Batch | None = None,
) -> str:
    """Say why `update` is not what this client makes of this batch at these weights; empty if it may be.

    The client is run anew, with and without its chance: recorded and remade updates must be as alike as two remade ones are, up to
    a tenth of a right angle's cosine. If they are not, the likeliest causes are tried one by one: the model, the weights, the
    client or the defenses as they might have been. The first that explains the update is named with its numbers.
    """
    start = model if update.before is None else replace(model, params={**model.params, **update.before})
    try:
        made = _made(start, batch, client, defenses, seed)
        again = _made(start, batch, client, defenses, seed + 1)
    except LeakgaugeError as error:
        return f"this client cannot make one to compare with ({error})"
    shared = {name: value for name, value in update.delta.items() if name in made}
    if not shared:
        return "it shares no tensor with what this client sends"
    found, usual = _fit(shared, made), _fit({name: again[name] for name in shared}, made)
    needed = min(_ALIKE, usual.cosine - _SLACK)
    wanted = _declared(update, client, start, batch, seed)
    if found.cosine >= needed and _is_as_long(found.ratio / wanted, usual.cosine):
        return _missing(shared, made)
    if found.cosine >= needed:
        told = f"it points where this client's does (cosine {found.cosine:.3f}) but is {found.ratio:.4g} times as long"
        return told + _why(found.ratio, len(batch))
    for cause, remake in _causes(model, start, batch, client, defenses, seed, update):
        try:
            fit = _fit(shared, remake())
        except (LeakgaugeError, RuntimeError, ValueError, KeyError):
            continue
        if fit.cosine >= max(needed, found.cosine + _SLACK):
            return f"it has cosine {found.cosine:.3f} with this client's, and {fit.cosine:.3f} with that of {cause}"
    worst = min(shared, key=lambda name: _fit({name: shared[name]}, made).cosine)
    least = _fit({worst: shared[worst]}, made).cosine
    return (
        f"it has cosine {found.cosine:.3f} with this client's (two of these: {usual.cosine:.3f}; least in {worst!r}: {least:.3f}). "
        "It is of other examples, of another model, or defended in a way that was not declared"
    )


def in_units_of(client: Client, update: Update, model: Model, batch: Batch) -> Update:
    """Return a recorded update with the scale that this client's have, where both say theirs: as long as a replay would be."""
    own = client(model, batch, rng=stream(0, "units")).scale
    if not update.scale or not own or update.scale == own:
        return update
    factor = own / update.scale
    return replace(update, delta=tree.apply(lambda value: value * factor, update.delta), scale=own)


def _made(model: Model, batch: Batch, client: Client, defenses: Sequence[Defense], seed: int) -> Params:
    return tree.detach(protect(client, defenses)(model, batch, rng=stream(seed, "fidelity")).delta)


def _fit(recorded: Params, made: Params) -> Fit:
    both = {name: value.double() for name, value in recorded.items() if name in made}
    other = {name: made[name].double().to(value.device) for name, value in both.items()}
    own, theirs = (sqrt(float(tree.squared_norm(one))) for one in (both, other))
    if own == 0 or theirs == 0:
        return Fit(1.0 if own == theirs else 0.0, 1.0 if own == theirs else 0.0)
    unit = tree.apply(lambda value: value / own, both), tree.apply(lambda value: value / theirs, other)
    return Fit(float(sum((one * unit[1][name]).sum() for name, one in unit[0].items())), own / theirs)


def _declared(update: Update, client: Client, model: Model, batch: Batch, seed: int) -> float:
    """How many times as long the update is declared to be: by its scale, where the client's own is defined."""
    own = client(model, batch, rng=stream(seed, "fidelity")).scale
    return 1.0 if update.scale is None or not own else update.scale / own


def _is_as_long(ratio: float, likeness: float) -> bool:
    """Within a tenth, or as far as two updates of this client differ."""
    return abs(ratio - 1) <= max(0.1, sqrt(max(0.0, 2 - 2 * likeness)))


def _missing(shared: Params, made: Params) -> str:
    """An exactly zero tensor that this client moves was not trained: a frozen layer that the client does not know of."""
    still = [name for name, value in shared.items() if not bool(value.any()) and bool(made[name].any())]
    return f"{', '.join(still)} did not move at all, but this client trains them: freeze them in the model" if still else ""


def _why(ratio: float, examples: int) -> str:
    if examples > 1 and isclose(ratio, examples, rel_tol=0.02):
        return f", the {examples} examples: a sum, where the client sends a mean; divide it, or declare its scale"
    if ratio > 100 and isclose(log2(ratio), round(log2(ratio)), abs_tol=0.01):
        return f", 2^{round(log2(ratio))}: a loss scale of mixed precision was left in; divide it out"
    return ": a learning rate, or a scale that was not divided out; set the client's, or declare the update's scale"


def _causes(
    model: Model, start: Model, batch: Batch, client: Client, defenses: Sequence[Defense], seed: int, update: Update
) -> Iterator[tuple[str, Callable[[], Params]]]:
    """What might be otherwise, the likeliest first, each with what the client makes then."""

    def made(
        model: Model = start, batch: Batch = batch, client: Client = client, defenses: Sequence[Defense] = defenses
    ) -> Callable[[], Params]:
        return lambda: _made(model, batch, client, defenses, seed)

    if update.before is not None:
        yield "training from the model's weights, not those of `before`, which are stale", made(model=model)
        negated = tree.apply(torch.neg, made()())
        yield "the opposite sign (weights after minus before)", lambda: negated
    else:
        yield "the opposite sign", lambda: tree.apply(torch.neg, made()())
    yield from ((f"a client in BatchNorm mode {mode!r}", made(client=other)) for mode, other in _modes(client))
    inputs = model.inputs
    for told, mean, std in (
        ("inputs that are not normalized", (0.0,), (1.0,)),
        ("inputs normalized to -1 to 1", (0.5,), (0.5,)),
        ("inputs in 0 to 255", (0.0,), (1 / 255,)),
        ("inputs normalized as ImageNet's", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("inputs normalized as CIFAR-10's", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("inputs normalized as MNIST's", (0.1307,), (0.3081,)),
    ):
        if (mean, std) != (inputs.mean, inputs.std) and len(mean) in (1, inputs.shape[0]):
            yield told, made(model=replace(start, inputs=replace(inputs, mean=mean, std=std)))
    if defenses:
        yield "the client without its defenses", made(defenses=())


def _modes(client: Client) -> Iterator[tuple[str, Client]]:
    if is_dataclass(client) and not isinstance(client, type) and "batchnorm" in {one.name for one in fields(client)}:
        sound: Any = client
        other = "train" if sound.batchnorm == "eval" else "eval"
        yield other, replace(sound, batchnorm=other)


_ALIKE = 0.99
_SLACK = 0.05
