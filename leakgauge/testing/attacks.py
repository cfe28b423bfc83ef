"""Checks of attacks, and of how they use labels and replay clients."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core import tree
from leakgauge.core.abilities import used_by
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Attack, Defense, Labels, Replay, Victim
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Capability, Client, Observation, Reconstruction, Status, ThreatModel, no_tick
from leakgauge.testing.expecting import expect
from leakgauge.testing.guards import check_algorithm, check_equal, undisturbed
from leakgauge.testing.sampling import SMALL_RESNET, sample
from leakgauge.testing.secrecy import check_secrecy


def check_attack(
    attack: Attack,
    *,
    victim: Victim = SMALL_RESNET,
    examples: int = 1,
    client: Client = FedSGD(),
    defenses: Sequence[Defense] = (),
    bounded: bool = False,
) -> None:
    """Raise AssertionError unless an attack keeps what the protocol promises.

    The same seed gives the same answer, also after the secret is wiped; its needs are enough for it to run; it changes nothing
    that it was given and draws from no global generator; its progress never falls; its answer has the right shapes; labels and
    public data that it does not say it uses change no pixel. With `bounded`, its pixels lie in the allowed range. Give it a
    `victim` and a client that it applies to.
    """
    check_algorithm("attack", attack)
    who = type(attack).__name__
    needs = _needs(who, attack)
    case = sample(victim, examples=examples)
    seen = case.observe(client, defenses=defenses)
    barely = case.observe(client, defenses=defenses, threat=ThreatModel("what it needs", needs))
    check_secrecy(seen, case.batch)
    shares: list[float] = []
    try:
        with undisturbed(who, attack, seen):
            first = attack.run(seen, rng=stream(0, "attack"), tick=shares.append)
    except OutOfScope as reason:
        raise AssertionError(
            f"{who}: is out of scope here ({reason}), expected a victim and a client that it applies to"
        ) from reason
    _check_reconstruction(who, first, seen, examples, bounded)
    rising = all(0 <= a <= b <= 1 for a, b in zip([0.0, *shares], [*shares, 1.0], strict=True))
    expect(rising, f"{who}: its progress falls or leaves 0 to 1")
    case.batch.x.zero_()
    case.batch.y.zero_()
    check_equal(who, "answers", first, attack.run(seen, rng=stream(0, "attack"), tick=no_tick))
    for grant in sorted({Capability.LABELS, Capability.PUBLIC_DATA} - used_by(attack)):
        other = attack.run(_altered(seen, grant), rng=stream(0, "attack"), tick=no_tick)
        expect(
            torch.equal(first.batch.x, other.batch.x),
            f"{who}: other {grant} give another answer, expected that `uses` or `needs` names it",
        )
    most = examples if Capability.COUNT in needs else sys.maxsize  # a count that is not granted may be estimated too high
    _check_reconstruction(who, attack.run(barely, rng=stream(0, "attack"), tick=no_tick), barely, most, bounded)


def check_labels(labels: Labels, *, victim: Victim = SMALL_RESNET, examples: int = 1, client: Client = FedSGD()) -> None:
    """Raise AssertionError unless a rule gives classes [n] or logits [n, classes], from what it needs and the seed alone."""
    check_algorithm("labels", labels)
    who = type(labels).__name__
    case = sample(victim, examples=examples)
    seen = case.observe(client, threat=ThreatModel("what it needs", _needs(who, labels)))
    with undisturbed(who, labels, seen):
        first = labels.infer(seen, examples, rng=stream(0, "labels"))
    classes = seen.model.inputs.classes
    if first.is_floating_point():
        fits, expected = first.shape == (examples, classes), f"logits {(examples, classes)}"
    else:
        fits, expected = first.shape == (examples,) and first.dtype == torch.int64, f"int64 classes {(examples,)}"
        expect(not fits or 0 <= int(first.min()) <= int(first.max()) < classes, f"{who}: gives a class that does not exist")
    expect(fits, f"{who}: gives {first.dtype} {tuple(first.shape)}, expected {expected}")
    expect(not first.requires_grad, f"{who}: gives labels with a graph, expected them detached")
    check_equal(who, "labels", first, labels.infer(seen, examples, rng=stream(0, "labels")))


def check_replay(replay: Replay, *, victim: Victim = SMALL_RESNET, examples: int = 2, client: Client = FedSGD()) -> None:
    """Raise AssertionError unless a replay gives every tensor that was seen, finite, and differentiable in pixels and labels."""
    check_algorithm("replay", replay)
    who = type(replay).__name__
    seen = sample(victim, examples=examples).observe(client, threat=ThreatModel("what it needs", _needs(who, replay)))
    guess = sample(victim, examples=examples, seed=1).batch
    soft = torch.nn.functional.one_hot(guess.y, seen.model.inputs.classes).to(guess.x)
    candidate = Batch(guess.x.requires_grad_(), soft.requires_grad_())
    with undisturbed(who, replay, seen, guess.x.detach()):
        sent = replay(seen, candidate)
    for name, value in seen.update.delta.items():
        expect(name in sent and sent[name].shape == value.shape, f"{who}: gives no {name!r} of shape {tuple(value.shape)}")
    total = torch.stack([sent[name].square().sum() for name in seen.update.delta]).sum()
    expect(total.requires_grad, f"{who}: cannot be differentiated in the candidate")
    for what, slope in zip(("pixels", "labels"), torch.autograd.grad(total, [candidate.x, candidate.y]), strict=True):
        expect(bool(slope.isfinite().all()), f"{who}: has a gradient in the {what} that is not finite")
    check_equal(who, "updates", tree.detach(sent), tree.detach(replay(seen, candidate)))


def _altered(seen: Observation, grant: str) -> Observation:
    """The observation with other labels, or other public examples, than were granted."""
    if grant == Capability.LABELS:
        return seen if seen.labels is None else replace(seen, labels=(seen.labels + 1) % seen.model.inputs.classes)
    return seen if seen.public is None else replace(seen, public=replace(seen.public, x=seen.public.x.flip(-1).sqrt()))


def _needs(who: str, algorithm: Any) -> frozenset[Capability]:
    needs = algorithm.needs
    known = isinstance(needs, frozenset) and all(isinstance(need, Capability) for need in needs)
    expect(known, f"{who}.needs: got {needs!r}, expected a frozenset of Capability")
    return frozenset(needs)


def _check_reconstruction(who: str, found: Reconstruction, seen: Observation, examples: int, bounded: bool) -> None:
    inputs, x, y = seen.model.inputs, found.batch.x, found.batch.y
    count = len(x)
    expect(1 <= count <= examples, f"{who}: guesses {count} examples, expected 1 to {examples}")
    expect(tuple(x.shape[1:]) == inputs.shape, f"{who}: guesses shape {tuple(x.shape[1:])}, expected {inputs.shape}")
    labeled = y.shape == (count,) and y.dtype == torch.int64
    soft = y.shape == (count, inputs.classes) and y.is_floating_point()
    expect(labeled or soft, f"{who}: guesses labels {y.dtype} {tuple(y.shape)}, expected classes [n] or shares [n, classes]")
    expect(not x.requires_grad and not y.requires_grad, f"{who}: its guess has a graph, expected it detached")
    expect(
        found.losses.dim() == 1 and len(found.losses) > 0, f"{who}: gives losses {tuple(found.losses.shape)}, expected [restarts]"
    )
    expect(found.trace is None or found.trace.dim() == 1, f"{who}: gives a trace that is not [steps]")
    expect(found.status is not Status.OK or bool(x.isfinite().all()), f"{who}: is ok, but its pixels are not finite")
    slack = 1e-5 * (inputs.high - inputs.low)  # of normalizing and back
    inside = inputs.low - slack <= float(x.min()) and float(x.max()) <= inputs.high + slack
    expect(inside or not bounded, f"{who}: guesses pixels from {float(x.min()):g} to {float(x.max()):g}, which leave the range")
