"""Rounds of federated training: what clients do, what the server makes of it, and that nothing of it is lost or shared."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.adam import Adam
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.lock import private
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs
from leakgauge.defenses.key_lock import KeyLock
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.defenses.weight_noise import WeightNoise
from leakgauge.federation.evaluation import accuracy, evaluate
from leakgauge.federation.rounds import Federation, model_of, start, step
from leakgauge.partitions.dirichlet import Dirichlet
from leakgauge.partitions.iid import IID
from leakgauge.partitions.shards import Shards
from leakgauge.victims.cnn import CNN
from leakgauge.victims.key_locked import KeyLocked
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

INPUTS = Inputs((1, 6, 6), 3)
SIZES = (4, 6, 5)


def federation(victim=MLP(hidden=(8,)), client=FedAvg(optimizer=SGD(learning_rate=0.1)), server=SGD(learning_rate=1.0), **changes):
    x = torch.rand(sum(SIZES), *INPUTS.shape, generator=stream(0, "x"))
    y = torch.arange(len(x)) % INPUTS.classes
    shares = tuple(Batch(*part) for part in zip(x.split(SIZES), y.split(SIZES), strict=True))
    settings = {"defenses": (), "sampled": len(SIZES), **changes}
    return Federation(model=victim.build(INPUTS, rng=stream(0, "victim")), shares=shares, client=client, server=server, **settings)


def after(made, rounds):
    state = start(made)
    for _ in range(rounds):
        state, _ = step(made, state)
    return state


def naive_gradient(model, params, batch):
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    loss = cross_entropy(functional_call(model.net, leaves, (batch.x,)), batch.y)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def test_a_round_is_federated_averaging():
    made = federation()
    found = after(made, 2)
    params = dict(made.model.params)
    for _ in range(2):
        sent = []
        for batch in made.shares:
            slopes = naive_gradient(made.model, params, batch)
            sent.append({name: value - 0.1 * slopes[name] for name, value in params.items()})
        params = {name: sum(size * one[name] for size, one in zip(SIZES, sent, strict=True)) / sum(SIZES) for name in params}
    for name, value in params.items():
        torch.testing.assert_close(found.params[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("server", "theirs"),
    [
        (SGD(learning_rate=0.3), lambda values: torch.optim.SGD(values, lr=0.3)),
        (SGD(learning_rate=0.3, momentum=0.9), lambda values: torch.optim.SGD(values, lr=0.3, momentum=0.9)),
        (Adam(learning_rate=0.01, eps=1e-3), lambda values: torch.optim.Adam(values, lr=0.01, eps=1e-3)),
    ],
    ids=["FedSGD", "momentum", "Adam"],
)
def test_the_server_steps_along_the_mean_update_as_torch_does(server, theirs):
    made = federation(client=FedSGD(), server=server)
    found = after(made, 3)
    leaves = {name: nn.Parameter(value.clone()) for name, value in made.model.params.items()}
    optimizer = theirs(list(leaves.values()))
    whole = Batch(torch.cat([one.x for one in made.shares]), torch.cat([one.y for one in made.shares]))
    for _ in range(3):
        for name, value in naive_gradient(made.model, {name: value.data for name, value in leaves.items()}, whole).items():
            leaves[name].grad = value
        optimizer.step()
    for name, value in leaves.items():
        torch.testing.assert_close(found.params[name], value.data, rtol=1e-4, atol=1e-6)


def test_who_takes_part_and_what_they_draw_depends_on_the_round_alone():
    made = federation(sampled=2, examples=3, client=FedAvg(epochs=2, batch_size=2))
    state, told = step(made, start(made))
    assert (len(told.clients), told.examples) == (2, 6)
    rounds = {step(made, replace(state, round=number))[1].clients for number in range(8)}
    assert len(rounds) > 1
    again, _ = step(made, start(made))
    assert all(torch.equal(value, again.params[name]) for name, value in state.params.items())


def test_statistics_of_batchnorm_are_averaged_and_counters_are_not():
    made = federation(victim=ResNet(blocks=(1,), widths=(4,)), client=FedAvg(batch_size=2, batchnorm="train"))
    found = after(made, 1)
    sent = [made.client(made.model, batch, rng=stream(0, "round", 0, "client", one)) for one, batch in enumerate(made.shares)]
    for name, value in found.buffers.items():
        each = [one.buffers[name] for one in sent]
        expected = (
            sum(size * one for size, one in zip(SIZES, each, strict=True)) / sum(SIZES) if value.is_floating_point() else each[0]
        )
        torch.testing.assert_close(value, expected)


# What clients keep


def test_layers_that_are_not_sent_stay_with_each_client_and_go_on_learning():
    made = federation(defenses=(PartialSharing(share=("1.*",)),))
    first = after(made, 1)
    for one, batch in enumerate(made.shares):
        slopes = naive_gradient(made.model, made.model.params, batch)
        for name in ("3.weight", "3.bias"):
            torch.testing.assert_close(first.kept[one][name], made.model.params[name] - 0.1 * slopes[name])
    for name in ("3.weight", "3.bias"):
        assert torch.equal(first.params[name], made.model.params[name]), "nobody sent it"
    second, _ = step(made, first)
    mine = model_of(made, first, 2)
    slopes = naive_gradient(made.model, mine.params, made.shares[2])
    torch.testing.assert_close(second.kept[2]["3.bias"], mine.params["3.bias"] - 0.1 * slopes["3.bias"])


def test_a_gradient_moves_what_is_kept_at_the_servers_rate():
    made = federation(client=FedSGD(), server=SGD(learning_rate=0.5), defenses=(PartialSharing(share=("1.*",)),))
    kept = after(made, 1).kept[0]["3.bias"]
    slopes = naive_gradient(made.model, made.model.params, made.shares[0])
    torch.testing.assert_close(kept, made.model.params["3.bias"] - 0.5 * slopes["3.bias"])


LOCKED = KeyLocked(victim=CNN(width=3, hidden=20), length=6)


def test_every_client_has_a_key_of_its_own_and_the_server_none():
    made = federation(victim=LOCKED, client=FedAvg(batch_size=2, batchnorm="train"), defenses=(KeyLock(),))
    state = after(made, 3)
    begun, names = start(made), private(made.model)
    assert all(not state.params[name].any() for name in names)
    for one in range(len(SIZES)):
        assert state.kept[one].keys() == names
        assert torch.equal(state.kept[one]["0.lock.key"], begun.kept[one]["0.lock.key"]), "no client trains its key"
        assert not torch.equal(state.kept[one]["0.lock.scale.weight"], begun.kept[one]["0.lock.scale.weight"]), "but the layers"
    assert not torch.equal(state.kept[0]["0.lock.key"], state.kept[1]["0.lock.key"])
    found = evaluate(made, state, made.shares[0])
    assert found.stranger is not None
    assert found.server == accuracy(model_of(made, state), made.shares[0])


def test_what_a_defense_does_to_an_update_reaches_the_server():
    plain, noisy = (after(federation(defenses=defenses), 1) for defenses in ((), (GaussianNoise(sigma=0.5),)))
    spread = torch.cat([(noisy.params[name] - value).flatten() for name, value in plain.params.items()]).std()
    share = sum((size / sum(SIZES)) ** 2 for size in SIZES) ** 0.5
    assert float(spread) == pytest.approx(0.5 * share, rel=0.15)


def test_weights_sent_with_noise_are_taken_as_they_are_sent():
    """Both snapshots have noise, but the server keeps the one after training, and its own weights before."""
    made = federation(defenses=(WeightNoise(scale=0.01),))
    found = after(made, 1)
    rows = [(one, made.shares[one]) for one in range(len(SIZES))]
    defended = [
        WeightNoise(scale=0.01).protect(made.client)(made.model, batch, rng=stream(0, "round", 0, "client", one))
        for one, batch in rows
    ]
    for name, value in found.params.items():
        sent = [one.before[name] - one.delta[name] for one in defended]
        expected = sum(size * one for size, one in zip(SIZES, sent, strict=True)) / sum(SIZES)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_training_learns():
    made = federation(client=FedAvg(epochs=5, optimizer=SGD(learning_rate=0.5)))
    whole = Batch(torch.cat([one.x for one in made.shares]), torch.cat([one.y for one in made.shares]))
    assert evaluate(made, after(made, 30), whole).server > 0.9


# Partitions


def test_dealt_out_by_chance_everyone_has_as_many():
    rows = IID().split(torch.arange(62) % 4, 4, rng=stream(0))
    assert sorted(map(len, rows)) == [15, 15, 16, 16]


def test_shards_hold_few_classes():
    y = torch.arange(400) % 10
    rows = Shards(per_client=2).split(y, 20, rng=stream(0))
    assert {len(one) for one in rows} == {20}
    assert max(len(y[one].unique()) for one in rows) <= 2


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
def test_dirichlet_shares_are_as_uneven_as_alpha_says(alpha):
    y = torch.arange(6000) % 10
    found = []
    for seed in range(20):
        rows = Dirichlet(alpha=alpha).split(y, 10, rng=stream(seed))
        found.append((torch.stack([torch.bincount(y[one], minlength=10) for one in rows]) / 600).var(correction=0))
    # Of a share of Dirichlet(alpha) over 10: (1/10) (9/10) / (10 alpha + 1).
    assert float(torch.stack(found).mean()) == pytest.approx(0.09 / (10 * alpha + 1), rel=0.15)
