"""The recipe `modern`: nothing out of updates that know nothing, what was planted, and more than Inverting Gradients finds."""

from dataclasses import replace

import pytest
import torch

import leakgauge as lg
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.modern import modern
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Inputs, no_tick
from leakgauge.data.photographs import Photographs
from leakgauge.metrics.psnr import PSNR
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet20

SIDE, CLASSES = 12, 5
INPUTS = Inputs((3, SIDE, SIDE), CLASSES)
QUICK = modern(steps=30, restarts=4)


def odd(count):
    """Pictures that no camera takes: stripes of two colors, turned and shifted."""
    rng = stream(3, "odd")
    colors = torch.rand(count, 2, 3, 1, 1, generator=rng)
    shifts = torch.randint(4, (count,), generator=rng)
    stripes = torch.stack([((torch.arange(SIDE) + shift) // 2 % 2).float().expand(SIDE, SIDE) for shift in shifts])
    stripes = torch.where(torch.rand(count, 1, 1, generator=rng) < 0.5, stripes, stripes.transpose(1, 2)).unsqueeze(1)
    return colors[:, 0] * stripes + colors[:, 1] * (1 - stripes)


DATA = {"natural": Photographs(size=SIDE).load().x[:160], "odd": odd(160)}


NETS = {"smooth": LeNet(channels=6), "deep": resnet20(width=4)}


def audited(kind, seed, net="smooth", **changes):
    x, y = DATA[kind], torch.arange(160) % CLASSES
    model = NETS[net].build(INPUTS, rng=stream(seed, "victim"))
    here = slice(20 * seed, 20 * seed + 1)  # neighbors are crops of the same pictures
    rest = torch.cat([x[: 20 * seed], x[20 * seed + 20 :]]), torch.cat([y[: 20 * seed], y[20 * seed + 20 :]])
    return lg.audit(
        model=model, batch=(x[here], y[here]), public=rest, inputs=INPUTS, attack=QUICK, threat="informed", seed=seed, **changes
    )


@pytest.mark.parametrize("kind", DATA)
def test_what_was_planted_is_found(kind):
    told = [audited(kind, seed).verdict.outcome for seed in range(2)]
    assert told == ["leaks"] * 2


@pytest.mark.parametrize(("net", "seeds"), [("smooth", 3), ("deep", 1)])
@pytest.mark.parametrize("kind", DATA)
def test_an_update_that_knows_nothing_gives_nothing(kind, net, seeds):
    told = []
    for seed in range(seeds):
        rng = stream(seed, "null")
        shapes = NETS[net].build(INPUTS, rng=rng).params
        update = lg.Update({name: torch.randn(value.shape, generator=rng) for name, value in shapes.items()}, examples=1, scale=1.0)
        told.append(audited(kind, seed, net, update=update).verdict.outcome)
    assert not {"leaks", "partial leak", "no leak found by these attacks"} & set(told), "no client makes such an update"


@pytest.mark.parametrize(("victim", "steps"), [(LeNet(channels=6), 1000), (resnet20(), 400)], ids=["smooth", "deep"])
def test_it_finds_more_than_inverting_gradients_in_as_many_steps(victim, steps):
    gains = []
    for row in (0, 40, 80):
        model = victim.build(INPUTS, rng=stream(row, "victim"))
        secret = Batch(DATA["natural"][row : row + 1], torch.tensor([row % CLASSES]))
        seen = observe(model, secret, client=FedSGD(), threat=INFORMED, rng=stream(0))
        found = [
            float(PSNR()(attack.run(seen, rng=stream(row, "attack"), tick=no_tick).batch.x, secret.x))
            for attack in (QUICK, inverting_gradients(steps=steps))
        ]
        gains.append(found[0] - found[1])
    assert sorted(gains)[1] > 3


# Deep networks of rectifiers


def deep_case(row):
    model = resnet20(width=4).build(INPUTS, rng=stream(row, "victim"))
    secret = Batch(DATA["natural"][row : row + 1], torch.tensor([row % CLASSES]))
    return secret, observe(model, secret, client=FedSGD(), threat=INFORMED, rng=stream(0))


def test_the_parts_for_deep_networks_are_taken_there_alone():
    secret, seen = deep_case(0)
    plain = replace(QUICK, search=QUICK.deep.search, annealing=QUICK.deep.annealing, restarts=2, deep=None)
    found = QUICK.run(seen, rng=stream(0, "attack"), tick=no_tick)
    assert torch.equal(found.batch.x, plain.run(seen, rng=stream(0, "attack"), tick=no_tick).batch.x)
    assert len(found.losses) == 2
    assert float(QUICK.loss_at(seen, secret)) == pytest.approx(float(plain.loss_at(seen, secret)))
    model = LeNet(channels=6).build(INPUTS, rng=stream(0, "victim"))
    shallow = observe(model, secret, client=FedSGD(), threat=INFORMED, rng=stream(0))
    assert len(QUICK.run(shallow, rng=stream(0), tick=no_tick).losses) == 4
    assert len(replace(QUICK, deep=replace(QUICK.deep, beyond=19)).run(seen, rng=stream(0), tick=no_tick).losses) == 4
