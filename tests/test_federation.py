"""Rounds of federated training: what clients do, what the server makes of it, and that nothing of it is lost or shared."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from leakgauge.cli import main
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.adam import Adam
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.errors import UsageError
from leakgauge.core.lock import private
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs, Status
from leakgauge.defenses.key_lock import KeyLock
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.defenses.weight_noise import WeightNoise
from leakgauge.federation import checkpoints
from leakgauge.federation.evaluation import accuracy, evaluate
from leakgauge.federation.rounds import Federation, model_of, start, step
from leakgauge.federation.running import checkpoint, run
from leakgauge.partitions.dirichlet import Dirichlet
from leakgauge.partitions.iid import IID
from leakgauge.partitions.shards import Shards
from leakgauge.victims.checkpoint import Checkpoint
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


# Many rounds, on disk


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path):
    made = federation(
        victim=LOCKED,
        client=FedAvg(batch_size=2, batchnorm="train"),
        defenses=(KeyLock(),),
        server=Adam(learning_rate=0.01),
        sampled=2,
    )
    test, said = made.shares[0], {"federation": "one"}
    whole, curve = run(made, test, 5, every=2, folder=tmp_path / "whole", made=said)
    run(made, test, 3, every=2, folder=tmp_path / "parts", made=said)
    (tmp_path / "parts" / checkpoint(3)).unlink()  # the last one was not written
    heard = []
    parts, again = run(made, test, 5, every=2, folder=tmp_path / "parts", made=said, hear=heard.append)
    assert heard == [3, 4, 5]
    assert [point.round for point in again.points] == [2, 4, 5]
    assert [point.accuracy for point in again.points] == [point.accuracy for point in curve.points]
    for one, other in (
        (whole.params, parts.params),
        (whole.buffers, parts.buffers),
        *((whole.kept[key], parts.kept[key]) for key in whole.kept),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    fewer, short = run(made, test, 4, every=2, folder=tmp_path / "parts", made=said)
    assert (fewer.round, [point.round for point in short.points]) == (4, [2, 4])
    saved, _ = checkpoints.load(tmp_path / "whole" / checkpoint(5))
    assert saved.round == 5
    assert saved.kept.keys() == whole.kept.keys()
    assert all(torch.equal(value, saved.server["first"][name]) for name, value in whole.server["first"].items())


def test_a_training_that_diverges_ends_with_what_it_had(tmp_path):
    made = federation(client=FedAvg(epochs=3, optimizer=SGD(learning_rate=1e20)))
    state, curve = run(made, made.shares[0], 5, every=1, folder=tmp_path, made={})
    assert curve.status == Status.DIVERGED
    assert all(value.isfinite().all() for value in state.params.values())
    assert json.loads((tmp_path / "curve.json").read_text())["status"] == "diverged"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / checkpoint(2)).write_bytes(b"nothing"), "holds no state of a federation"),
        (lambda folder: (folder / "curve.json").write_text("{}"), "holds no curve"),
        (lambda folder: (folder / "curve.json").write_text("nothing"), "holds no curve"),
    ],
)
def test_files_that_are_damaged_are_told(tmp_path, spoil, words):
    made = federation()
    run(made, made.shares[0], 2, every=2, folder=tmp_path, made={})
    spoil(tmp_path)
    with pytest.raises(UsageError, match=words):
        run(made, made.shares[0], 3, every=2, folder=tmp_path, made={})


def test_a_folder_of_another_federation_is_told(tmp_path):
    made = federation()
    run(made, made.shares[0], 1, every=1, folder=tmp_path, made={"federation": "one"})
    with pytest.raises(UsageError, match="holds another federation"):
        run(made, made.shares[0], 2, every=1, folder=tmp_path, made={"federation": "another"})


def test_an_audit_starts_from_any_round(tmp_path):
    made = federation(victim=LOCKED, client=FedAvg(batch_size=2, batchnorm="train"), defenses=(KeyLock(),))
    state, _ = run(made, made.shares[0], 2, every=1, folder=tmp_path, made={})
    path = str(tmp_path / checkpoint(2))
    server, client = (Checkpoint(path=path, victim=LOCKED, client=one).build(INPUTS, rng=stream(9)) for one in (None, 1))
    for name, value in state.params.items():
        assert torch.equal(server.params[name], value)
        assert torch.equal(client.params[name], state.kept[1].get(name, value))
    with pytest.raises(UsageError, match="expected the victim that was trained"):
        Checkpoint(path=path, victim=MLP()).build(INPUTS, rng=stream(0))
    with pytest.raises(UsageError, match="got 7, expected one of 0, 1, 2"):
        Checkpoint(path=path, victim=LOCKED, client=7).build(INPUTS, rng=stream(0))


# From a file

FILE = """
data: {name: mnist, part: test}
victim: {name: mlp, hidden: [16]}
client: {name: fedavg, batch_size: 32, optimizer: {learning_rate: 0.1}}
clients: 4
rounds: 4
every: 2
"""


def test_a_file_is_trained_and_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(FILE)
    for rounds in (2, 4):
        with pytest.raises(SystemExit) as end:
            main(["federate", "small.yaml", "-s", f"rounds={rounds}"])
        assert end.value.code == 0
    told = capsys.readouterr().out
    (folder,) = (tmp_path / "leakgauge-federations").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["curve.json", checkpoint(2), checkpoint(4)]
    points = json.loads((folder / "curve.json").read_text())["points"]
    assert [point["round"] for point in points] == [2, 4]
    assert f"{points[1]['accuracy']['server']:.4f}" in told
    assert points[1]["accuracy"]["server"] > points[0]["accuracy"]["server"] > 0.2


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("clients=0", "clients: got 0, expected a number >= 1"),
        ("sampled=9", "sampled: got 9, expected at most the 4 clients"),
        ("clients=900", "partition: leaves 100 of 900 clients without an example (the first is client 800)"),
        ("test=0.0001", "test: got 0.0001 of 1000 examples, expected some on either side"),
        ("victim={name: key_locked, layers: [conv9]}", "KeyLocked.layers: 'conv9' is no convolution of the victim"),
        ("defenses=[key_lock]", "has no key-lock"),
        ("servr=sgd", "servr"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path, capsys, monkeypatch, setting, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(FILE)
    with pytest.raises(SystemExit) as end:
        main(["federate", "small.yaml", "-s", setting])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
