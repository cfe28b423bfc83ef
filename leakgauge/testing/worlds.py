"""Checks of what an audit is about, and of how it is scored: data, victims and metrics."""

from __future__ import annotations

import torch

from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.protocols import Data, Metric, Partition, Victim
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs
from leakgauge.testing.expecting import expect
from leakgauge.testing.guards import check_algorithm, check_equal, undisturbed
from leakgauge.testing.sampling import INPUTS, sample


def check_data(data: Data) -> None:
    """Raise AssertionError unless data give the same pixels in range, with labels and names of classes, each time."""
    check_algorithm("data", data)
    who = type(data).__name__
    with undisturbed(who, data):
        pool = data.load()
    inputs, count = pool.inputs, len(pool)
    expect(count > 0 and tuple(pool.x.shape) == (count, *inputs.shape), f"{who}: holds {tuple(pool.x.shape)}, expected [N, *shape]")
    expect(pool.x.dtype == torch.float32, f"{who}: holds pixels as {pool.x.dtype}, expected float32")
    inside = inputs.low <= float(pool.x.min()) and float(pool.x.max()) <= inputs.high
    expect(inside, f"{who}: holds pixels from {float(pool.x.min()):g} to {float(pool.x.max()):g}, expected the range of its inputs")
    expect(pool.y.shape == (count,) and pool.y.dtype == torch.int64, f"{who}: holds labels {pool.y.dtype} {tuple(pool.y.shape)}")
    expect(
        0 <= int(pool.y.min()) <= int(pool.y.max()) < inputs.classes, f"{who}: holds a label beyond its {inputs.classes} classes"
    )
    expect(len(pool.class_names) == inputs.classes, f"{who}: names {len(pool.class_names)} classes of {inputs.classes}")
    expect(all(std > 0 for std in inputs.std), f"{who}: gives a standard deviation of {min(inputs.std)}, expected > 0")
    check_equal(who, "examples", (pool.x, pool.y), (data.load().x, data.load().y))


def check_partition(partition: Partition, *, clients: int = 4) -> None:
    """Raise AssertionError unless a partition gives each example to one client, and takes all its chance from the seed."""
    check_algorithm("partition", partition)
    who = type(partition).__name__
    y = torch.arange(60) % 5
    with undisturbed(who, partition, y):
        rows = partition.split(y, clients, rng=stream(0, "partition"))
    expect(len(rows) == clients, f"{who}: gives {len(rows)} parts for {clients} clients")
    dealt = torch.cat(rows)
    expect(dealt.dtype == torch.int64, f"{who}: gives rows as {dealt.dtype}, expected int64")
    expect(dealt.sort().values.equal(torch.arange(60)), f"{who}: gives an example twice, or to nobody, expected each to one client")
    check_equal(who, "parts", rows, partition.split(y, clients, rng=stream(0, "partition")))


def check_victim(victim: Victim, *, inputs: Inputs = INPUTS) -> None:
    """Raise AssertionError unless a victim takes all weights from the seed, gives logits, and can be differentiated twice."""
    check_algorithm("victim", victim)
    who = type(victim).__name__
    with undisturbed(who, victim):
        model = victim.build(inputs, rng=stream(0, "victim"))
    again = victim.build(inputs, rng=stream(0, "victim"))
    check_equal(who, "weights", (model.params, model.buffers), (again.params, again.buffers))
    for what, values, own in (
        ("parameters", model.params, dict(model.net.named_parameters())),
        ("buffers", model.buffers, dict(model.net.named_buffers())),
    ):
        fits = {name: value.shape for name, value in values.items()} == {name: value.shape for name, value in own.items()}
        expect(fits, f"{who}: gives {what} whose names or shapes are not those of its network")
    expect(not any(value.requires_grad for value in model.params.values()), f"{who}: gives parameters that require a gradient")
    batch = sample(victim, examples=2, inputs=inputs).batch
    with undisturbed(who, model, batch):
        logits = model.logits(batch.x)
    expect(
        logits.shape == (2, inputs.classes), f"{who}: gives {tuple(logits.shape)} for 2 examples, expected (2, {inputs.classes})"
    )
    expect(bool(logits.isfinite().all()), f"{who}: gives logits that are not finite")
    x = batch.x.clone().requires_grad_()
    sent = FedSGD()(model, Batch(x, batch.y)).delta
    total = torch.stack([value.square().sum() for value in sent.values()]).sum()
    expect(bool(torch.autograd.grad(total, x)[0].isfinite().all()), f"{who}: its gradient has a gradient that is not finite")


def check_metric(metric: Metric, *, shape: tuple[int, ...] = (3, 16, 16)) -> None:
    """Raise AssertionError unless a metric scores each example by itself, and changes nothing."""
    check_algorithm("metric", metric)
    who = type(metric).__name__
    rng = stream(0, "metric")
    guess, truth = torch.rand(3, *shape, generator=rng), torch.rand(3, *shape, generator=rng)
    guess[0] = truth[0]
    with undisturbed(who, metric, guess, truth):
        scores = metric(guess, truth)
    expect(
        scores.shape == (3,) and scores.is_floating_point(),
        f"{who}: gives {scores.dtype} {tuple(scores.shape)}, expected one score each",
    )
    expect(bool(scores.isfinite().all()), f"{who}: gives {scores.tolist()}, expected finite scores, for a perfect copy as well")
    alone = torch.cat([metric(guess[row : row + 1], truth[row : row + 1]) for row in range(3)])
    expect(torch.allclose(alone, scores, rtol=1e-4, atol=1e-5), f"{who}: scores an example by the others beside it")
    rest = (scores[1:] - scores[0]).sign()
    expect(bool((rest == rest[0]).all()) and bool(rest[0] != 0), f"{who}: does not tell a perfect copy from chance images")
