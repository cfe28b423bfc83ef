"""Checks of clients and of what they are made of: defenses, gradient rules and local optimizers."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core import tree
from leakgauge.core.abilities import Trains
from leakgauge.core.protocols import Defense, GradientRule, Optimizer, Victim
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Client, Model, Params
from leakgauge.testing.expecting import expect
from leakgauge.testing.guards import check_algorithm, check_equal, undisturbed
from leakgauge.testing.sampling import SMALL_RESNET, sample
from leakgauge.testing.secrecy import check_secrecy


def check_client(client: Client, *, victim: Victim = SMALL_RESNET, examples: int = 4) -> None:
    """Raise AssertionError unless a client is a pure function, differentiable in its batch, whose update fits the model.

    The same seed gives the same update, and none at all the part that is not chance; an observation of it hides the batch. One that
    says what it trained on says the same of the same seed, and has a row for each example.
    """
    check_algorithm("client", client)
    _check_sending(type(client).__name__, client, victim, examples)


def check_defense(defense: Defense, *, client: Client = FedSGD(), victim: Victim = SMALL_RESNET, examples: int = 4) -> None:
    """Raise AssertionError unless a defense makes of a client one that keeps the promises of `check_client`."""
    check_algorithm("defense", defense)
    who = type(defense).__name__
    with undisturbed(who, defense, client):
        protected = defense.protect(client)
    _check_sending(who, protected, victim, examples)


def check_gradient(rule: GradientRule, *, victim: Victim = SMALL_RESNET, examples: int = 4) -> None:
    """Raise AssertionError unless a gradient rule makes of FedSGD a client that keeps the promises of `check_client`."""
    check_algorithm("gradient", rule)
    _check_sending(type(rule).__name__, FedSGD(gradient=rule), victim, examples)


def check_optimizer(optimizer: Optimizer) -> None:
    """Raise AssertionError unless an optimizer is a pure step, differentiable in the gradient, and plain only where it says so."""
    check_algorithm("optimizer", optimizer)
    who = type(optimizer).__name__
    rng = stream(0, "optimizer")
    params = {"weight": torch.randn(3, 2, generator=rng), "bias": torch.randn(3, generator=rng)}
    slopes = [{name: torch.randn(value.shape, generator=rng).requires_grad_() for name, value in params.items()} for _ in range(3)]
    state: Mapping[str, Params] = {}
    moved: Params = params
    for slope in slopes:
        with undisturbed(who, moved, slope, state):
            after, following = optimizer.step(moved, slope, state)
        check_equal(who, "steps", tree.detach(after), tree.detach(optimizer.step(moved, slope, state)[0]))
        expect({n: v.shape for n, v in after.items()} == {n: v.shape for n, v in params.items()}, f"{who}: changes names or shapes")
        plain = all(torch.allclose(moved[n] - after[n], optimizer.learning_rate * slope[n], atol=1e-6) for n in params)
        expect(
            plain or not optimizer.is_plain, f"{who}: says that it is plain, but steps by something else than rate times gradient"
        )
        moved, state = after, following
    total = torch.stack([value.square().sum() for value in moved.values()]).sum()
    finite = all(bool(one.isfinite().all()) for one in torch.autograd.grad(total, [v for slope in slopes for v in slope.values()]))
    expect(finite, f"{who}: three steps have a gradient that is not finite")


def _check_sending(who: str, client: Client, victim: Victim, examples: int) -> None:
    case = sample(victim, examples=examples)
    model, batch = case.model, case.batch
    with undisturbed(who, client, model, batch):
        sent = client(model, batch, rng=stream(0, "client"))
    _check_params(who, "update", sent.delta, model.params)
    _check_params(who, "buffers", sent.buffers, model.buffers)
    expect(bool(sent.delta), f"{who}: sends nothing, expected at least one tensor")
    expect(sent.examples in (None, examples), f"{who}: says {sent.examples} examples, expected {examples}")
    check_equal(who, "updates", sent, client(model, batch, rng=stream(0, "client")))
    expected = client(model, batch)
    check_equal(who, "updates without a seed", expected, client(model, batch))
    check_secrecy(case.observe(client), batch)
    if isinstance(client, Trains):
        _check_trained_on(who, client, model, batch)
    _check_replayed(who, client, model, batch, expected.delta)


def _check_trained_on(who: str, client: Trains, model: Model, batch: Batch) -> None:
    with undisturbed(who, client, model, batch):
        trained = client.trained_on(model, batch, rng=stream(0, "client"))
    expect(trained.x.shape == batch.x.shape, f"{who}: says that it trained on {tuple(trained.x.shape)}, expected a row per example")
    check_equal(who, "batches to train on", trained, client.trained_on(model, batch, rng=stream(0, "client")))


def _check_replayed(who: str, client: Client, model: Model, batch: Batch, expected: Params) -> None:
    soft = torch.nn.functional.one_hot(batch.y, model.inputs.classes).to(batch.x)
    replayed = Batch(batch.x.clone().requires_grad_(), soft.requires_grad_())
    with undisturbed(who, client, model, batch):
        found = client(model, replayed).delta
    for name, value in expected.items():
        alike = name in found and torch.allclose(found[name], value, rtol=1e-3, atol=1e-5)
        expect(alike, f"{who}: sends another {name!r} where the batch requires a gradient and its labels are soft")
    total = torch.stack([value.square().sum() for value in found.values()]).sum()
    expect(total.requires_grad, f"{who}: cannot be differentiated in the batch, so that no attacker can replay it")
    for what, slope in zip(("pixels", "labels"), torch.autograd.grad(total, [replayed.x, replayed.y]), strict=True):
        expect(bool(slope.isfinite().all()), f"{who}: has a gradient in the {what} that is not finite")


def _check_params(who: str, what: str, sent: Params, expected: Params) -> None:
    for name, value in sent.items():
        expect(name in expected, f"{who}: its {what} hold {name!r}, which the model does not have")
        expect(value.shape == expected[name].shape, f"{who}: its {what} hold {name!r} in another shape than the model")
        expect(bool(value.isfinite().all()), f"{who}: its {what} hold numbers in {name!r} that are not finite")
        expect(not value.requires_grad, f"{who}: its {what} hang on the batch's graph where the batch requires no gradient")
