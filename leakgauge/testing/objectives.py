"""Checks of what an objective is made of, and of the searches that minimize it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.protocols import Found, Likelihood, Objective, Point, Prior, Search, Space, Victim
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Client, Status, no_tick
from leakgauge.testing.expecting import expect
from leakgauge.testing.guards import check_algorithm, check_equal, undisturbed
from leakgauge.testing.sampling import SMALL_RESNET, sample


def check_likelihood(likelihood: Likelihood) -> None:
    """Raise AssertionError unless a likelihood is a scalar >= 0, 0 where both updates agree, with finite gradients.

    Tensors that were not seen must not count.
    """
    check_algorithm("likelihood", likelihood)
    who = type(likelihood).__name__
    rng = stream(0, "likelihood")
    seen = {"weight": torch.randn(3, 2, generator=rng), "bias": torch.randn(3, generator=rng)}
    other = {name: torch.randn(value.shape, generator=rng) for name, value in seen.items()}
    with undisturbed(who, likelihood, seen, other):
        distance = likelihood(other, seen)
    expect(distance.shape == () and bool(distance >= 0), f"{who}: gives {distance}, expected a scalar >= 0")
    expect(
        abs(float(likelihood(seen, seen))) < 1e-5, f"{who}: gives {float(likelihood(seen, seen)):g} where both agree, expected 0"
    )
    with_more = {"hidden": torch.ones(1), **other}
    expect(torch.equal(likelihood(with_more, seen), distance), f"{who}: looks at tensors that were not seen")
    for guess in (other, seen, {name: torch.zeros_like(value) for name, value in seen.items()}):
        leaves = {name: value.clone().requires_grad_() for name, value in guess.items()}
        loss = likelihood(leaves, seen)
        slopes = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True) if loss.requires_grad else ()
        expect(all(bool(slope.isfinite().all()) for slope in slopes), f"{who}: has a gradient that is not finite")


def check_prior(prior: Prior, *, victim: Victim = SMALL_RESNET, examples: int = 2, client: Client = FedSGD()) -> None:
    """Raise AssertionError unless a prior is a finite scalar with a finite gradient in the pixels, the same each time.

    It has to be the same whichever range pixels have, too: an image is as likely in 0 to 255 as in 0 to 1.
    """
    check_algorithm("prior", prior)
    who = type(prior).__name__
    seen = sample(victim, examples=examples).observe(client)
    other = sample(victim, examples=examples, seed=1).batch
    x = other.x.requires_grad_()
    with undisturbed(who, prior, seen, x):
        value = prior(other, seen)
    expect(value.shape == () and bool(value.isfinite()), f"{who}: gives {value}, expected a finite scalar")
    expect(value.requires_grad, f"{who}: cannot be differentiated in the pixels")
    expect(bool(torch.autograd.grad(value, x)[0].isfinite().all()), f"{who}: has a gradient that is not finite")
    check_equal(who, "values", value.detach(), prior(Batch(x.detach(), other.y), seen))
    inputs = seen.model.inputs
    mean, std = (tuple(_WIDER * number for number in numbers) for numbers in (inputs.mean, inputs.std))
    wide = replace(inputs, low=_WIDER * inputs.low, high=_WIDER * inputs.high, mean=mean, std=std)
    wider = prior(Batch(_WIDER * x.detach(), other.y), replace(seen, model=replace(seen.model, inputs=wide)))
    is_same = torch.allclose(wider, value.detach(), rtol=1e-3, atol=1e-6)
    expect(is_same, f"{who}: gives {float(wider):g} for pixels of 0 to 255, {float(value.detach()):g} for the same of 0 to 1")


_WIDER = 255.0


def check_space(space: Space, *, victim: Victim = SMALL_RESNET, examples: int = 2, bounded: bool = False) -> None:
    """Raise AssertionError unless a space starts from the seed alone, decodes to pixels, and projects a point once and for all.

    With `bounded`, every projected point must decode to pixels in range.
    """
    check_algorithm("space", space)
    who = type(space).__name__
    seen = sample(victim, examples=examples).observe(FedSGD())
    inputs = seen.model.inputs
    with undisturbed(who, space, seen):
        start = space.start(seen, examples, rng=stream(0, "space"))
    check_equal(who, "starts", start, space.start(seen, examples, rng=stream(0, "space")))
    far = 3 * start.clone().requires_grad_()
    with undisturbed(who, space, seen, start, far):
        pixels, projected = space.decode(far, seen), space.project(far.detach(), seen)
    expect(tuple(pixels.shape) == (examples, *inputs.shape), f"{who}: decodes to {tuple(pixels.shape)}, expected [n, *shape]")
    expect(pixels.requires_grad, f"{who}: its decoding cannot be differentiated")
    expect(projected.shape == start.shape, f"{who}: projects to another shape")
    expect(torch.allclose(space.project(projected, seen), projected, atol=1e-5), f"{who}: projects a projected point once more")
    found = space.decode(projected, seen)
    inside = inputs.low - 1e-5 <= float(found.min()) and float(found.max()) <= inputs.high + 1e-5
    expect(inside or not bounded, f"{who}: projects to pixels from {float(found.min()):g} to {float(found.max()):g}")


def check_search(search: Search) -> None:
    """Raise AssertionError unless a search keeps its promises on a small quadratic in a box.

    The loss that it gives is that of the point that it gives, which is allowed and no worse than the start; it ends at its goal,
    and with Status.DIVERGED where the loss is no number.
    """
    check_algorithm("search", search)
    who = type(search).__name__
    rng = stream(0, "quadratic")
    target = {"x": 2 * torch.randn(2, 3, generator=rng), "y": torch.randn(2, generator=rng)}
    start = {"x": torch.full((2, 3), 1.5), "y": torch.zeros(2)}  # not allowed before it is projected

    def quadratic(point: Point) -> Tensor:
        return torch.stack([(point[name] - value).square().sum() for name, value in target.items()]).sum()

    shares: list[float] = []
    with undisturbed(who, search, start):
        found = _search(search, quadratic, start, tick=shares.append)
    detached = not any(value.requires_grad for value in found.point.values())
    expect(detached, f"{who}: gives a point with a graph, expected it detached")
    at_start, again = float(quadratic(_project(start))), float(quadratic(found.point))
    expect(abs(found.loss - again) <= 1e-5 * at_start, f"{who}: gives a loss of {found.loss:g} for a point whose loss is {again:g}")
    expect(found.loss <= at_start, f"{who}: ends at {found.loss:g}, worse than its start at {at_start:g}")
    inside = float(found.point["x"].abs().max()) <= 1 + 1e-5
    expect(inside, f"{who}: gives a point that is not allowed, expected a projected one")
    expect(found.status is Status.OK, f"{who}: ends as {found.status} on a quadratic")
    expect(found.trace.dim() == 1 and len(found.trace) > 0, f"{who}: gives a trace {tuple(found.trace.shape)}, expected [steps]")
    expect(all(0 <= share <= 1 for share in shares), f"{who}: its progress leaves 0 to 1")
    check_equal(who, "points", found.point, _search(search, quadratic, start).point)
    reached = _search(search, quadratic, start, goal=at_start)
    early = len(reached.trace) < len(found.trace) or len(found.trace) <= 2
    expect(early and reached.loss <= at_start, f"{who}: goes on after it has reached its goal")
    lost = _search(search, lambda point: quadratic(point) * torch.nan, start)
    expect(lost.status is Status.DIVERGED, f"{who}: ends as {lost.status} where the loss is no number, expected diverged")


def _search(
    search: Search, objective: Objective, start: Point, goal: float = 0.0, tick: Callable[[float], None] = no_tick
) -> Found:
    return search.minimize(objective, start, project=_project, goal=goal, rng=stream(0, "search"), tick=tick)


def _project(point: Point) -> Point:
    return {**point, "x": point["x"].clamp(-1, 1)}
