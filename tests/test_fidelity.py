"""Recorded updates: whether the client makes them of this batch, and what is said where it does not."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from leakgauge.auditing.fidelity import in_units_of, mismatch
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs, Model
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.noise import GaussianNoise

POOL = Photographs(size=8).load()
BATCH, OTHER = Batch(POOL.x[:4], POOL.y[:4]), Batch(POOL.x[20:24], POOL.y[20:24])


def network(inputs=POOL.inputs, *, with_norm=False):
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(24)] if with_norm else []
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 24), *middle, nn.ReLU(), nn.Linear(24, 10))
    params = {name: value.detach().clone() for name, value in net.named_parameters()}
    buffers = {name: value.detach().clone() for name, value in net.named_buffers()}
    return Model(net=net, params=params, buffers=buffers, loss=nn.functional.cross_entropy, inputs=inputs)


def told(update, model=None, client=FedSGD(), **changes):
    return mismatch(update, model or network(), BATCH, client=client, **{"defenses": (), "seed": 0, **changes})


def scaled(update, factor):
    return replace(update, delta=tree.apply(lambda value: factor * value, update.delta), scale=None)


@pytest.mark.parametrize("client", [FedSGD(), FedAvg(epochs=3, batch_size=2, optimizer=SGD(learning_rate=0.05))])
def test_what_the_client_makes_is_its_own_whatever_the_order_of_its_examples(client):
    assert told(client(network(), BATCH, rng=stream(7)), client=client) == ""


@pytest.mark.parametrize("defense", [GaussianNoise(sigma=0.1), Clipping(norm=0.01)])
def test_a_declared_defense_explains_what_it_does(defense):
    model = network()
    update = defense.protect(FedSGD())(model, BATCH, rng=stream(7))
    assert told(update, model, defenses=(defense,)) == ""
    assert told(update, model) != ""


CAUSES = {
    "2^16: a loss scale of mixed precision": lambda: scaled(FedSGD()(network(), BATCH), 65536.0),
    "the 4 examples: a sum": lambda: scaled(FedSGD()(network(), BATCH), 4.0),
    "a learning rate, or a scale": lambda: scaled(FedSGD()(network(), BATCH), 0.037),
    "inputs that are not normalized": lambda: FedSGD()(network(Inputs((3, 8, 8), 10)), BATCH),
    "inputs normalized to -1 to 1": lambda: FedSGD()(network(Inputs((3, 8, 8), 10, mean=(0.5,), std=(0.5,))), BATCH),
    "the opposite sign": lambda: scaled(FedSGD()(network(), BATCH), -1.0),
    "of other examples": lambda: FedSGD()(network(), OTHER),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_likeliest_cause_is_named(cause):
    assert cause in told(CAUSES[cause]())


def test_another_batchnorm_mode_is_named():
    model = network(with_norm=True)
    assert "BatchNorm mode 'train'" in told(FedSGD(batchnorm="train")(model, BATCH), model)


def test_a_stale_start_is_named():
    model = network()
    stale = {name: value + 0.3 * torch.randn(value.shape, generator=stream(0, name)) for name, value in model.params.items()}
    update = replace(FedSGD()(model, BATCH), before=stale)
    assert "not those of `before`, which are stale" in told(update, model)


def test_a_tensor_that_did_not_move_is_named():
    model = network()
    update = FedSGD()(model, BATCH)
    update = replace(update, delta={**update.delta, "1.bias": torch.zeros(24)})
    assert re.search(r"1\.bias did not move at all|least in '1\.bias'|^$", told(update, model))
    assert "1.bias" in told(update, model)


def test_a_declared_scale_is_used():
    model, client = network(), FedAvg(optimizer=SGD(learning_rate=0.01))
    update = client(model, BATCH)
    declared = replace(scaled(update, 50.0), scale=0.5)
    assert told(declared, model, client) == ""
    assert told(scaled(update, 50.0), model, client) != ""
    again = in_units_of(client, declared, model, BATCH)
    assert again.scale == update.scale
    for name, value in update.delta.items():
        torch.testing.assert_close(again.delta[name], value)
    assert in_units_of(client, scaled(update, 50.0), model, BATCH).scale is None
