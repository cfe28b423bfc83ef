"""Weights: the update between two snapshots, defenses on the weights themselves, and the adversary who sees nothing else."""

import copy
import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import stats
from table import FLAT, rows
from torch import nn
from torch.nn.functional import cross_entropy

import leakgauge as lg
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.laplace import Laplace
from leakgauge.attacks.likelihoods.masked import Masked
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.without_jumps import WithoutJumps
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.algorithm import algorithm
from leakgauge.core.capabilities import EAVESDROPPER, INFORMED, NAMED, SERVER, WEIGHTS
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe, observe_update, protect
from leakgauge.core.types import Batch, Capability, Inputs, Model, Reconstruction, Update, no_tick
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.defenses.pruning import Pruning
from leakgauge.defenses.secure_aggregation import SecureAggregation
from leakgauge.defenses.weight_noise import WeightNoise
from leakgauge.defenses.weight_sparsification import WeightSparsification
from leakgauge.metrics.psnr import PSNR
from leakgauge.testing import check_secrecy, sample, tensors_in
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import ResNet

SMOOTH = LeNet(channels=2)
NORMED = ResNet(blocks=(1,), widths=(4,))
RATE = 0.1


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=stream(seed, "weights"))


# The update between two snapshots


def network(norm=True):
    """A user's network, with parameters and buffers, on weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), *([nn.BatchNorm1d(6)] if norm else []), nn.Sigmoid(), nn.Linear(6, 4))


SECRET = Batch(torch.rand(3, 1, 8, 8, generator=stream(1, "secret")), torch.tensor([0, 1, 1]))


def trained(net, steps=2):
    """What an ordinary training loop leaves behind: copies of the state dict before and after."""
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(net(SECRET.x), SECRET.y).backward()
        optimizer.step()
    return before, copy.deepcopy(net.state_dict())


def test_the_update_is_before_minus_after_by_name():
    net = network()
    names = list(dict(net.named_parameters()))
    before, after = trained(net)
    update = lg.update_between(before, dict(reversed(after.items())), examples=3, scale=2 * RATE)
    assert list(update.delta) == names == list(update.before)
    for name, value in update.delta.items():
        expected = before[name].numpy() - after[name].numpy()
        assert np.array_equal(value.numpy(), expected)
        assert torch.equal(update.before[name], before[name])
    assert set(update.buffers) == {"2.running_mean", "2.running_var", "2.num_batches_tracked"}
    assert all(torch.equal(value, after[name]) for name, value in update.buffers.items())
    assert (update.examples, update.scale) == (3, 0.2)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_update_is_that_of_the_client_who_trains_so(steps):
    net = network()
    model = Model(net, dict(net.named_parameters()), dict(net.named_buffers()), cross_entropy, Inputs((1, 8, 8), 4))
    model = replace(
        model,
        params={name: value.detach().clone() for name, value in model.params.items()},
        buffers={name: value.clone() for name, value in model.buffers.items()},
    )
    before, after = trained(net, steps)
    found = lg.update_between(before, after, model=model)
    expected = FedAvg(epochs=steps, optimizer=SGD(learning_rate=RATE), batchnorm="train")(model, SECRET)
    for one, other in ((found.delta, expected.delta), (found.buffers, expected.buffers)):
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], atol=1e-6, rtol=1e-5)


def test_named_parameters_will_do_and_nothing_is_shared_with_them():
    net = network(norm=False)
    before, after = trained(net)
    update = lg.update_between(before, dict(net.named_parameters()))
    expected = lg.update_between(before, after)
    assert all(torch.equal(value, expected.delta[name]) and not value.requires_grad for name, value in update.delta.items())
    own = {value.untyped_storage().data_ptr() for value in (*before.values(), *net.state_dict().values())}
    assert not own & {tensor.untyped_storage().data_ptr() for _, tensor in tensors_in(update)}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_with_its_rounding(kind):
    net = network()
    before, after = (
        {name: value.to(kind) if value.is_floating_point() else value for name, value in one.items()} for one in trained(net)
    )
    update = lg.update_between(before, after)
    for name, value in update.delta.items():
        assert value.dtype == update.before[name].dtype == torch.float32
        assert np.array_equal(value.numpy(), before[name].float().numpy() - after[name].float().numpy())
    assert update.buffers["2.running_mean"].dtype == torch.float32
    assert update.buffers["2.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize(("kind", "gap"), [(torch.float16, 6e-5), (torch.bfloat16, 5e-4)])
def test_what_half_precision_costs_is_what_is_said(kind, gap):
    before = torch.tensor([0.1]).to(kind)
    lost, kept = ((before.float() - share * gap).to(kind) for share in (0.4, 1.1))
    assert torch.equal(lost, before)
    assert float(before.float() - kept.float()) == pytest.approx(gap, rel=0.05)


def test_buffers_of_ones_own_are_told_by_the_model():
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("seen_so_far", torch.tensor(0))

    with torch.random.fork_rng():
        net = Counting()
    before = copy.deepcopy(net.state_dict())
    after = {"weight": before["weight"] + 1, "bias": before["bias"], "seen_so_far": torch.tensor(7)}
    with pytest.raises(UsageError, match=r"^before: 'seen_so_far' holds torch.int64, expected floating weights; .* pass the model"):
        lg.update_between(before, after)
    update = lg.update_between(before, after, model=net)
    assert list(update.delta) == ["weight", "bias"]
    assert update.buffers == {"seen_so_far": after["seen_so_far"]}


def test_tied_weights_count_once():
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    before = copy.deepcopy(net.state_dict())
    after = {name: value + 1 for name, value in before.items()}
    assert list(lg.update_between(before, after, model=net).delta) == ["0.weight", "0.bias", "1.bias"]


A = {"weight": draw(3, 2), "bias": draw(3)}
B = {"weight": draw(3, 2, seed=1), "bias": draw(3, seed=1)}
NAN = {**B, "bias": torch.tensor([0.0, torch.nan, 0.0])}


def linear(weights):
    with torch.random.fork_rng():
        net = nn.Linear(2, 3)
    net.load_state_dict(weights)
    return net


@pytest.mark.parametrize(
    ("before", "after", "settings", "told"),
    [
        (A, {"weight": B["weight"]}, {}, "after: lacks 'bias', which before holds, "),
        ({"weight": A["weight"]}, B, {}, "before: lacks 'bias', which after holds, "),
        (A, {"wieght": B["weight"], "bias": B["bias"]}, {}, "before: lacks 'wieght', which after holds, did you mean 'weight'?"),
        (A, {**B, "bias": draw(4)}, {}, "after: 'bias' has shape (4,), expected (3,) as in before; take both from one network"),
        (A, A, {}, "after: holds the same 2 tensors as before, expected trained weights; nothing was trained: copy the weights"),
        (A, NAN, {}, "after: 'bias' holds nan or infinity, expected finite numbers; did local training diverge?"),
        (NAN, A, {}, "before: 'bias' holds nan or infinity"),
        (A, {**B, "bias": draw(3) / 0}, {}, "after: 'bias' holds nan or infinity"),
        ({**A, "bias": torch.arange(3)}, B, {}, "before: 'bias' holds torch.int64, expected floating weights; convert it"),
        (A, {**B, "weight": torch.ones(3, 2, dtype=torch.int8)}, {}, "after: 'weight' holds torch.int8, expected floating"),
        ({"running_mean": A["bias"]}, {"running_mean": B["bias"]}, {}, "before: holds buffers alone, expected parameters as well"),
        ({}, B, {}, "before: holds no tensor, expected the weights of a network; pass its state_dict()"),
        (A, {}, {}, "after: holds no tensor"),
        (A["weight"], B, {}, "before: got Tensor, expected a mapping from names to tensors; pass its state_dict()"),
        (A, linear(B).named_parameters(), {}, "after: got generator, expected a mapping"),
        (A, {**B, "bias": [1.0, 2.0, 3.0]}, {}, "after: 'bias' is list, expected a tensor"),
        (A, B, {"examples": 0}, "examples: got 0, expected at least 1; leave it out where it is not known"),
        (A, B, {"model": linear(B)}, "after: is what the model holds, and before is not, expected the model as it was before"),
        (
            {**A, "scale": draw(1)},
            {**B, "scale": draw(1)},
            {"model": linear(A)},
            "before: holds 'scale', which the model does not have, ",
        ),
        (
            {"layer.weight": A["weight"]},
            {"layer.weight": B["weight"]},
            {"model": linear(A)},
            "before: holds 'layer.weight', which the model does not have, did you mean 'weight'?; take both from one network",
        ),
        (
            {"bias": A["bias"]},
            {"bias": B["bias"]},
            {"model": linear(A)},
            "before: lacks 'weight', which the model has, expected all",
        ),
        (
            {"weight": draw(2, 2), "bias": A["bias"]},
            {"weight": draw(2, 2, seed=1), "bias": B["bias"]},
            {"model": linear(A)},
            "before: 'weight' has shape (2, 2), expected (3, 2) as in the model; take both from one network",
        ),
    ],
)
def test_snapshots_that_do_not_fit_are_told_in_one_line(before, after, settings, told):
    with pytest.raises(UsageError) as caught:
        lg.update_between(before, after, **settings)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_swapped_snapshots_are_told_in_half_precision_as_well_and_a_third_model_is_not():
    halves = ({name: value.half() for name, value in one.items()} for one in (A, B))
    with pytest.raises(UsageError, match="swap before and after, or load before into the model"):
        lg.update_between(*halves, model=linear(B))
    assert lg.update_between(A, B, model=linear(A)).delta.keys() == A.keys()
    lg.update_between(A, B, model=linear({name: value + 1 for name, value in A.items()}))


def test_a_state_dict_that_was_not_copied_is_told():
    net = network()
    before = net.state_dict()
    trained(net)
    with pytest.raises(UsageError, match=r"^after: holds the same 6 tensors as before, .* nothing was trained"):
        lg.update_between(before, net.state_dict())


def test_an_adversary_starts_from_the_weights_before():
    """Also where the network was trained in place, and holds those after."""
    net = network()
    before, after = trained(net)
    model = Model(net, dict(net.named_parameters()), dict(net.named_buffers()), cross_entropy, Inputs((1, 8, 8), 4))
    seen = observe_update(model, lg.update_between(before, after), threat=EAVESDROPPER)
    assert all(torch.equal(value, before[name]) for name, value in seen.model.params.items())


def test_an_update_of_another_precision_is_told():
    model = sample(FLAT).model
    delta = {name: value.double() for name, value in model.params.items()}
    with pytest.raises(
        UsageError, match=r"^update: '1\.weight' holds torch.float64, expected torch.float32 as in the model; convert it"
    ):
        observe_update(model, Update(delta), threat=SERVER)


# Defenses on the weights

NOISES = [WeightNoise(scale=0.02), WeightNoise(scale=0.02, distribution="gaussian"), WeightNoise(scale=0.02, clip=5.0)]
SPARSE = [WeightSparsification(share=share) for share in (0.0, 0.25, 0.5, 0.8)]
CLIENT = FedAvg(epochs=2, optimizer=SGD(learning_rate=RATE))


def factor(value, clip):
    """How far a tensor exceeds the clipping, by loops over what the released code calls its rows."""
    numbers = value.double().numpy()
    if numbers.ndim == 1:
        norms = [math.sqrt(sum(number**2 for number in numbers))]
    else:
        columns = np.moveaxis(numbers, 1, -1).reshape(-1, numbers.shape[1])
        norms = [math.sqrt(sum(number**2 for number in row)) for row in columns]
    return max(1.0, max(norms) / (clip + 1e-6))


@pytest.mark.parametrize("defense", NOISES, ids=repr)
def test_weight_noise_is_clipped_drawn_and_scaled_back(defense):
    weights = {"conv": draw(4, 3, 5, 5), "matrix": 0.02 * draw(6, 7), "vector": draw(5), "small": 1e-3 * draw(5)}
    sent = defense.cloak(weights, rng=stream(3))
    rng = stream(3)
    for name, value in weights.items():
        if defense.distribution == "gaussian":
            noise = torch.randn(value.shape, generator=rng)
        else:
            first, second = torch.empty(2, *value.shape).exponential_(generator=rng)
            noise = first - second
        c = factor(value, defense.clip)
        expected = (value.double() / c + defense.scale * noise.double()) * c
        torch.testing.assert_close(sent[name].double(), expected, atol=1e-6, rtol=1e-5)
    assert factor(weights["conv"], 0.2) > 5
    assert factor(weights["small"], 0.2) == 1.0
    assert all(torch.equal(value, weights[name]) for name, value in defense.cloak(weights, rng=None).items())


@pytest.mark.parametrize(("distribution", "law"), [("laplace", stats.laplace), ("gaussian", stats.norm)])
def test_weight_noise_follows_its_law_times_the_excess_of_the_largest_row(distribution, law):
    weights = {"w": torch.tensor([[3.0, 4.0]]).repeat(5_000, 1)}
    noise = WeightNoise(scale=0.01, distribution=distribution).cloak(weights, rng=stream(4))["w"] - weights["w"]
    assert stats.kstest(noise.flatten().numpy(), law(scale=0.01 * 5 / 0.200001).cdf).pvalue > 0.01


@pytest.mark.parametrize("distribution", ["laplace", "gaussian"])
def test_both_snapshots_are_noisy_with_draws_of_their_own(distribution):
    case = sample(FLAT, examples=3)
    defense = WeightNoise(scale=0.05, distribution=distribution)
    plain, noisy = CLIENT(case.model, case.batch), defense.protect(CLIENT)(case.model, case.batch, rng=stream(5))
    name = "1.weight"
    start, end = case.model.params[name], case.model.params[name] - plain.delta[name]
    before = (noisy.before[name] - start) / factor(start, 0.2)
    after = (noisy.before[name] - noisy.delta[name] - end) / factor(end, 0.2)
    deviation = 0.05 * (math.sqrt(2) if distribution == "laplace" else 1.0)
    for noise in (before, after):
        assert float(noise.std()) == pytest.approx(deviation, rel=0.1)
        assert abs(float(noise.mean())) < 4 * deviation / noise.numel() ** 0.5
    assert abs(np.corrcoef(before.flatten(), after.flatten())[0, 1]) < 0.1
    others = torch.corrcoef(torch.stack([(noisy.before[name] - start).flatten()[:10], noisy.before["3.bias"][:4].repeat(3)[:10]]))
    assert abs(float(others[0, 1])) < 0.99


@pytest.mark.parametrize("defense", SPARSE, ids=repr)
def test_sparsification_drops_what_lies_below_the_quantile(defense):
    weights = {
        "conv": draw(4, 3, 5, 5),
        "matrix": draw(6, 7),
        "vector": draw(11),
        "one": draw(1),
        "ties": torch.ones(6),
        "zero": torch.zeros(4),
    }
    sent = defense.cloak(weights, rng=None)
    for name, value in weights.items():
        numbers = value.double().numpy()
        expected = np.where(np.abs(numbers) < np.quantile(np.abs(numbers), defense.share), 0, numbers)
        assert np.array_equal(sent[name].double().numpy(), expected), name
    again = defense.cloak(sent, rng=stream(0))
    assert all(torch.equal(value, sent[name]) for name, value in again.items())


def test_sparsification_acts_on_each_snapshot_by_itself():
    case = sample(FLAT, examples=3)
    client = FedAvg(optimizer=SGD(learning_rate=5.0))  # a step that carries numbers over the quantile
    plain, sparse = client(case.model, case.batch), WeightSparsification(share=0.5).protect(client)(case.model, case.batch)
    kinds = set()
    for name, delta in plain.delta.items():
        start, end = case.model.params[name].numpy(), (case.model.params[name] - delta).numpy()
        before = np.where(np.abs(start) < np.quantile(np.abs(start), 0.5), 0, start)
        after = np.where(np.abs(end) < np.quantile(np.abs(end), 0.5), 0, end)
        np.testing.assert_allclose(sparse.delta[name].numpy(), before - after, atol=1e-6)
        np.testing.assert_array_equal(sparse.before[name].numpy(), before)
        kinds |= set(zip((before == 0).flatten().tolist(), (after == 0).flatten().tolist(), strict=True))
    assert len(kinds) == 4  # kept in both, in one or the other, in none


DEFENSES = [WeightNoise(scale=0.01), WeightNoise(scale=0.01, distribution="gaussian"), WeightSparsification(share=0.5)]
each_defense = pytest.mark.parametrize("defense", DEFENSES, ids=repr)


@each_defense
def test_the_client_trains_from_its_true_weights(defense):
    met = []

    def client(model, batch, /, *, rng=None):
        met.append(model)
        return CLIENT(model, batch, rng=rng)

    case = sample(NORMED)
    update = defense.protect(client)(case.model, case.batch, rng=stream(0))
    assert met == [case.model]
    plain = CLIENT(case.model, case.batch)
    assert (update.scale, update.examples) == (plain.scale, plain.examples) == (2 * RATE, 2)
    assert update.delta.keys() == plain.delta.keys()
    assert update.before.keys() == case.model.params.keys()
    assert update.buffers.keys() == plain.buffers.keys()
    assert all(torch.equal(value, plain.buffers[name]) for name, value in update.buffers.items())


@each_defense
def test_a_gradient_counts_as_one_step_of_rate_one(defense):
    case = sample(FLAT)
    stepped = FedAvg(optimizer=SGD(learning_rate=1.0))

    def undrawn(model, batch, /, *, rng=None):  # which shuffles nothing, so that both meet the same noise
        return stepped(model, batch)

    one, other = (defense.protect(client)(case.model, case.batch, rng=stream(1)) for client in (FedSGD(), undrawn))
    for name, value in one.delta.items():
        torch.testing.assert_close(value, other.delta[name], atol=1e-5, rtol=1e-4)
    assert one.scale == other.scale == 1.0


@each_defense
def test_no_draw_means_the_defense_without_chance(defense):
    case = sample(SMOOTH)
    plain, still = CLIENT(case.model, case.batch), defense.protect(CLIENT)(case.model, case.batch)
    for name, value in still.delta.items():
        start = case.model.params[name]
        expected = defense.cloak({"w": start}, rng=None)["w"] - defense.cloak({"w": start - plain.delta[name]}, rng=None)["w"]
        torch.testing.assert_close(value, expected)
        if isinstance(defense, WeightNoise):
            torch.testing.assert_close(value, plain.delta[name], atol=1e-6, rtol=1e-4)


@each_defense
@pytest.mark.parametrize("threat", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("inner", [[], [PartialSharing(share=("*.bias",))], [GaussianNoise(sigma=0.01)]], ids=repr)
def test_an_adversary_sees_the_defended_weights_and_no_others(defense, threat, inner):
    case = sample(SMOOTH)
    case.model.net.to_empty(device="cpu").load_state_dict(dict(case.model.params))  # as a user's network holds its weights
    sending = protect(CLIENT, [*inner, defense])
    seen = case.observe(CLIENT, defenses=[*inner, defense], threat=threat)
    check_secrecy(seen, case.batch)
    sent = sending(case.model, case.batch, rng=stream(0, "client"))
    assert seen.model.params.keys() == case.model.params.keys()
    assert all(torch.equal(value, sent.before[name]) for name, value in seen.model.params.items())
    assert seen.update.before is None
    plain = CLIENT(case.model, case.batch)
    hidden = {name: (value, value - plain.delta[name]) for name, value in case.model.params.items() if value.numel() > 1}
    for path, tensor in tensors_in(seen):
        for name, (start, end) in hidden.items():
            if tensor.shape == start.shape and bool(start.any()):
                assert not torch.equal(tensor, start), f"{path} is {name} before"
                assert not torch.equal(tensor, end), f"{path} is {name} after"


@each_defense
def test_the_adversary_replays_from_the_weights_that_it_holds(defense):
    case = sample(SMOOTH)
    seen = case.observe(CLIENT, defenses=[defense])
    found = Granted()(seen, case.batch)
    expected = defense.protect(CLIENT)(seen.model, case.batch).delta
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    from_truth = defense.protect(CLIENT)(case.model, case.batch).delta
    assert any(not torch.equal(value, from_truth[name]) for name, value in found.items())


def test_defenses_on_the_weights_stack():
    case = sample(FLAT)
    noise, sparse = WeightNoise(scale=0.01), WeightSparsification(share=0.5)
    once = sparse.protect(CLIENT)(case.model, case.batch)
    twice = protect(CLIENT, [sparse, sparse])(case.model, case.batch)
    for name, value in once.before.items():
        assert torch.equal(twice.before[name], value)
        torch.testing.assert_close(twice.delta[name], once.delta[name])
    last = protect(CLIENT, [noise, sparse])(case.model, case.batch, rng=stream(2))
    first = protect(CLIENT, [sparse, noise])(case.model, case.batch, rng=stream(2))
    assert int((last.before["1.weight"] == 0).sum()) == last.before["1.weight"].numel() // 2
    assert int((first.before["1.weight"] == 0).sum()) == 0


def test_secure_aggregation_hides_the_weights_of_each_client():
    case = sample(FLAT, examples=4)
    defense = WeightNoise(scale=0.05)
    update = protect(CLIENT, [defense, SecureAggregation(clients=2)])(case.model, case.batch, rng=stream(3))
    rng = stream(3)
    one, two = (defense.protect(CLIENT)(case.model, case.batch[part], rng=rng) for part in (slice(0, 2), slice(2, 4)))
    for name, value in update.before.items():
        torch.testing.assert_close(value, (one.before[name] + two.before[name]) / 2)
        torch.testing.assert_close(update.delta[name], (one.delta[name] + two.delta[name]) / 2)


# An update that is exactly zero

FLOORS = {"mean_image", "random_image"}


def still(row):
    """What an adversary sees of a client in whom nothing moved."""
    case = sample(row.options.get("victim", NORMED), examples=row.options.get("examples", 1))
    seen = case.observe(row.options.get("client", FedSGD()))
    return replace(
        seen, update=replace(seen.update, delta={name: torch.zeros_like(value) for name, value in seen.update.delta.items()})
    )


@pytest.mark.parametrize("row", rows("attack"), ids=str)
def test_no_attack_makes_something_of_nothing(row):
    if row.name in FLOORS:
        assert row.algorithm.run(still(row), rng=stream(0), tick=no_tick).batch.x.isfinite().all()
        return
    with pytest.raises(OutOfScope) as caught:
        row.algorithm.run(still(row), rng=stream(0), tick=no_tick)
    assert "zero" in str(caught.value) or "0" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", rows("labels"), ids=str)
def test_no_label_rule_reads_a_class_out_of_nothing(row):
    seen = still(row)
    if row.name in ("known", "joint", "corrupted"):  # which do not look at the update
        assert row.algorithm.infer(seen, seen.count, rng=stream(0)).isfinite().all()
        return
    with pytest.raises(OutOfScope, match="exactly zero"):
        row.algorithm.infer(seen, seen.count, rng=stream(0))


def test_one_still_round_of_several_is_told():
    seen = sample(NORMED).observe(FedSGD())
    zero = replace(
        seen, update=replace(seen.update, delta={name: torch.zeros_like(value) for name, value in seen.update.delta.items()})
    )
    with pytest.raises(OutOfScope, match="the update is exactly zero"):
        inverting_gradients(steps=1).run(replace(seen, earlier=(zero,)), rng=stream(0), tick=no_tick)


def test_an_audit_of_nothing_is_inconclusive_and_says_why():
    case = sample(FLAT)
    nothing = Update({name: torch.zeros_like(value) for name, value in case.model.params.items()})
    for attack in ("dlg", {"name": "matching", **PARTS}):
        result = lg.audit(model=case.model, batch=case.batch, update=nothing, attack=attack, device="cpu")
        assert result.verdict.outcome == "inconclusive"
        assert "the update is exactly zero" in result.verdict.reason


# A recorded update

PARTS = {
    "likelihood": "cosine",
    "space": "pixels",
    "replay": {"name": "one_gradient", "scaled": False},
    "labels": "joint",
    "search": {"name": "adam", "steps": 3},
}
POOL = Photographs(size=8).load()


def recorded(steps=2, **settings):
    """A network that somebody trained on one photograph, put back to where it was, and the update that was recorded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 10))
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(net(POOL.x[:1]), POOL.y[:1]).backward()
        optimizer.step()
    update = lg.update_between(before, net.state_dict(), **settings)
    net.load_state_dict(before)
    return net, update


def audit(net, update, **changes):
    settings = {"batch": (POOL.x[:1], POOL.y[:1]), "public": (POOL.x[10:], POOL.y[10:]), "attack": "analytic", "device": "cpu"}
    return lg.audit(**{"model": net, "update": update, **settings, **changes})


def test_the_attack_sees_what_was_recorded_and_the_controls_do_not():
    net, update = recorded()
    client = FedAvg(epochs=2, optimizer=SGD(learning_rate=0.05))
    result = audit(net, update, client=client, threat="weights")
    record = result.record
    assert result.verdict.outcome == "leaks"
    assert record.trials["attack"].scores["psnr"][0] > 40
    assert record.trials["floor"].scores["psnr"][0] < 20
    assert record.setting.client == f"{client!r}, for floor and controls; the update was recorded"
    assert record.setting.sent == sum(value.numel() for value in net.parameters())
    as_sent = lg.audit(
        model=net,
        batch=(POOL.x[:1], POOL.y[:1]),
        public=(POOL.x[10:], POOL.y[10:]),
        client=client,
        attack="analytic",
        threat="weights",
        device="cpu",
    ).record
    for name in ("floor", "blind"):
        assert record.trials[name].scores == as_sent.trials[name].scores
    noise = {name: value + 10 * torch.randn(value.shape, generator=stream(0, name)) for name, value in update.delta.items()}
    garbled = audit(net, replace(update, delta=noise), client=client, threat="weights")
    assert garbled.verdict.outcome == "inconclusive"
    assert "The recorded update is not one that this client makes of this batch" in garbled.verdict.reason
    for name in ("floor", "blind", "positive control"):
        assert garbled.record.trials[name].scores == record.trials[name].scores


def test_a_recorded_update_is_filtered_like_any_other():
    net, update = recorded(scale=0.1)
    met = []

    @algorithm
    class Watching:
        needs: ClassVar = frozenset()

        def run(self, seen, /, *, rng, tick):
            met.append(seen)
            return Reconstruction(Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)), torch.tensor([1.0]))

    defense = Clipping()
    for threat in NAMED.values():
        met.clear()
        audit(net, update, attack=Watching(), threat=threat, defenses=[defense])
        seen = met[0]
        check_secrecy(seen, Batch(POOL.x[:1], POOL.y[:1]))
        factor = 10.0 if Capability.SCALE in threat else 1.0  # who knows both scales brings the update to that of a replay
        assert all(torch.allclose(value, factor * update.delta[name]) for name, value in seen.update.delta.items())
        assert seen.update.examples == (1 if Capability.COUNT in threat else None)
        assert seen.update.scale == (1.0 if Capability.SCALE in threat else None)
        expected = defense.protect(FedSGD()) if Capability.DEFENSE in threat else FedSGD()
        assert seen.client == (expected if Capability.PROCEDURE in threat else None)
        assert (seen.labels is None) == (Capability.LABELS not in threat)


def test_a_recorded_update_that_does_not_fit_the_audit_is_told():
    net, update = recorded()
    for changes, told in (
        ({"update": dict(update.delta)}, "update: got dict, expected an Update; make one with update_between(before, after)"),
        (
            {"update": replace(update, examples=3)},
            "update: is of 3 examples, expected the 1 of the batch; pass those it was made of",
        ),
        ({"rounds": 2}, "rounds: got 2, expected 1 beside a recorded update, which is of one; leave it out"),
        ({"update": replace(update, delta={"x": torch.zeros(1)})}, "update: got a tensor 'x' that the model does not have"),
        ({"update": replace(update, delta={"1.bias": torch.zeros(3)})}, "update: '1.bias' has shape (3,), expected (32,)"),
    ):
        with pytest.raises(UsageError) as caught:
            audit(net, **{"update": update, **changes})
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", [1, 20])
def test_a_model_that_was_left_as_training_made_it_is_told(steps):
    net, update = recorded(steps)
    net.load_state_dict({name: value - update.delta[name] for name, value in net.state_dict().items()})
    with pytest.raises(UsageError, match=r"^model: holds the weights after training, expected those before; load them, or audit"):
        audit(net, update)


def test_a_recorded_audit_can_be_saved_and_shown(tmp_path):
    result = audit(*recorded(), threat="weights")
    page = result.save(tmp_path).read_text(encoding="utf-8")
    assert "the update was recorded" in page
    assert "the update that a FedSGD client computed on 1 example" in page


# The adversary who knows that numbers were set to zero


@pytest.mark.parametrize("inner", [Gaussian(weight=3.0), Laplace(), Cosine()], ids=repr)
def test_a_masked_likelihood_is_that_of_the_numbers_which_say_something(inner):
    guess = {"a": draw(4, 5), "b": draw(9, seed=1), "c": draw(3, seed=2)}
    seen = {"a": draw(4, 5, seed=3) * (draw(4, 5, seed=4) > 0), "b": draw(9, seed=5), "c": torch.zeros(3)}
    pairs = [
        (a, b) for name in seen for a, b in zip(guess[name].flatten().tolist(), seen[name].flatten().tolist(), strict=True) if b
    ]
    ours, theirs = np.array(pairs).T
    expected = {
        "Gaussian": 3 * ((ours - theirs) ** 2).sum(),
        "Laplace": np.abs(ours - theirs).sum(),
        "Cosine": 1 - ours @ theirs / np.sqrt((ours @ ours) * (theirs @ theirs)),
    }[type(inner).__name__]
    assert 9 < len(pairs) < 29
    assert float(Masked(likelihood=inner)(guess, seen)) == pytest.approx(expected, rel=1e-5)


def test_a_number_that_says_nothing_has_no_gradient():
    guess = {"a": draw(5).requires_grad_()}
    seen = {"a": torch.tensor([0.1, 0.0, -0.2, 0.3, 0.0])}
    (slope,) = torch.autograd.grad(Masked()(guess, seen), guess["a"])
    assert (slope != 0).tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("likelihood", [Masked(), Masked(likelihood=Laplace())], ids=repr)
def test_the_truth_is_at_zero_where_pruning_took_the_rest(likelihood):
    case = sample(SMOOTH, examples=2)
    seen = case.observe(FedSGD(), defenses=[Pruning(share=0.7)])
    attack = Matching(likelihood=likelihood, space=Pixels(), replay=OneGradient(), labels=Known(), search=Adam(steps=1))
    unaware = replace(attack, likelihood=likelihood.likelihood)
    assert float(attack.loss_at(seen, case.batch)) == pytest.approx(0, abs=1e-8)
    assert float(unaware.loss_at(seen, case.batch)) > 1e-3
    assert float(attack.loss_at(seen, sample(SMOOTH, seed=1).batch)) > 1e-4


MET = []


@algorithm
class Meeting:
    """An attack that notes what it was given."""

    needs: ClassVar = frozenset({Capability.LABELS})

    def run(self, seen, /, *, rng, tick):
        MET.append(seen)
        tick(1.0)
        return Reconstruction(Batch(torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.long)), torch.tensor([1.0]))


def test_jumps_are_taken_out_and_steps_are_not():
    """Number by number: zero where one of the two snapshots was set to zero and the other was not."""
    case = sample(NORMED, examples=1)  # its biases start at 0
    client, defense = FedAvg(optimizer=SGD(learning_rate=0.1)), WeightSparsification(share=0.4)
    seen = case.observe(client, defenses=[defense])
    MET.clear()
    flipped = replace(seen, update=replace(seen.update, delta={name: -value for name, value in seen.update.delta.items()}))
    WithoutJumps(attack=Meeting()).run(replace(seen, earlier=(flipped,)), rng=stream(0), tick=no_tick)
    met, steps = MET[0], client(case.model, case.batch).delta
    jumps = still_there = 0
    for name, value in met.update.delta.items():
        start, end = case.model.params[name].flatten().tolist(), (case.model.params[name] - steps[name]).flatten().tolist()
        lowest = [np.quantile(np.abs(one), 0.4) for one in (start, end)]
        for place, number in enumerate(value.flatten().tolist()):
            dropped = [abs(one[place]) < bound for one, bound in zip((start, end), lowest, strict=True)]
            if dropped[0] != dropped[1]:
                jumps += 1
                assert number == 0, name
            elif not any(dropped):
                still_there += 1
                assert number == seen.update.delta[name].flatten()[place]
        assert torch.equal(-met.earlier[0].update.delta[name], value)
    assert jumps > 5
    assert still_there > 100
    assert (met.model, met.threat, met.labels) == (seen.model, seen.threat, seen.labels)
    assert WithoutJumps(attack=Meeting()).needs == {"labels"}


def test_where_nothing_was_sparsified_nothing_is_taken_out():
    case = sample(NORMED)
    seen = case.observe(CLIENT)
    MET.clear()
    WithoutJumps(attack=Meeting()).run(seen, rng=stream(0), tick=no_tick)
    assert all(torch.equal(value, seen.update.delta[name]) for name, value in MET[0].update.delta.items())
    attack = inverting_gradients(steps=3)
    assert WithoutJumps(attack=attack).informed() == attack.informed()
    assert WithoutJumps(attack=Meeting()).informed() == Meeting()


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_without_jumps_the_truth_explains_sparsified_weights(rate):
    case = sample(LeNet(channels=6), examples=1)
    client = FedAvg(optimizer=SGD(learning_rate=rate))
    seen = case.observe(client, defenses=[WeightSparsification(share=0.05)], threat=INFORMED)
    plain = Matching(likelihood=Cosine(), space=Pixels(), replay=Granted(), labels=Known(), search=Adam(steps=1))
    MET.clear()
    WithoutJumps(attack=Meeting()).run(seen, rng=stream(0), tick=no_tick)
    adaptive = replace(plain, likelihood=Masked(likelihood=Cosine()))
    assert float(adaptive.loss_at(MET[0], case.batch)) < 0.1 * float(plain.loss_at(seen, case.batch))


def test_without_jumps_an_image_is_found_behind_sparsified_weights():
    model = LeNet().build(POOL.inputs, rng=stream(0, "victim"))
    secret, client = Batch(POOL.x[:1], POOL.y[:1]), FedAvg(optimizer=SGD(learning_rate=0.01))
    settings = {"client": client, "defenses": [WeightSparsification(share=0.05)], "threat": INFORMED}
    seen = observe(model, secret, **settings, rng=stream(0, "client"))
    plain = Matching(
        likelihood=Gaussian(weight=1e4),
        priors=(TotalVariation(weight=1e-2),),
        space=Pixels(boxed=False),
        replay=Granted(),
        labels=Known(),
        search=LBFGS(steps=15),
    )
    adaptive = WithoutJumps(attack=replace(plain, likelihood=Masked(likelihood=Gaussian(weight=1e4))))
    hidden, found = (attack.run(seen, rng=stream(0, "attack"), tick=no_tick).batch.x for attack in (plain, adaptive))
    psnr = [float(PSNR()(guess, secret.x)) for guess in (hidden, found)]
    assert psnr[0] < 15
    assert psnr[1] > psnr[0] + 5


# The adversary who sees weights alone

WEIGHTS_ONLY = [row for row in rows("attack") if row.algorithm.needs <= WEIGHTS.grants]


def of_weights(attack, client, *, sign=1.0, scale=1.0, victim=SMOOTH, examples=1):
    """What an attack that is granted the count alone makes of a difference of weights, in either convention and any scale."""
    case = sample(victim, examples=examples)
    delta = {name: sign * scale * value for name, value in client(case.model, case.batch).delta.items()}
    update = Update(delta, examples=examples, scale=0.1)
    seen = observe_update(case.model, update, threat=WEIGHTS, client=client, labels=case.batch.y)
    assert (seen.update.scale, seen.client, seen.labels) == (None, None, None)
    return attack.run(seen, rng=stream(0, "attack"), tick=no_tick)


UNSCALED = inverting_gradients(steps=8, replay=OneGradient(scaled=False), labels=Joint())


@pytest.mark.parametrize("scale", [2.0**-10, 1.0, 2.0**6])
def test_inverting_gradients_needs_no_scale(scale):
    found, expected = (of_weights(UNSCALED, CLIENT, scale=one) for one in (scale, 1.0))
    assert torch.equal(found.batch.x, expected.batch.x)


@pytest.mark.parametrize("client", [FedAvg(), CLIENT, FedAvg(epochs=3, optimizer=SGD(momentum=0.9))], ids=repr)
@pytest.mark.parametrize("examples", [1, 3])
def test_the_sign_of_a_difference_of_weights_is_found(client, examples):
    found, expected = (of_weights(UNSCALED, client, sign=sign, examples=examples) for sign in (-1.0, 1.0))
    assert torch.equal(found.batch.x, expected.batch.x)
    assert torch.equal(found.batch.y, expected.batch.y)


@pytest.mark.parametrize("row", WEIGHTS_ONLY, ids=str)
def test_no_attack_on_weights_relies_on_the_sign(row):
    settings = {"victim": row.options.get("victim", SMOOTH), "examples": row.options.get("examples", 1)}
    found, expected = (of_weights(row.algorithm, CLIENT, sign=sign, **settings) for sign in (-1.0, 1.0))
    assert torch.equal(found.batch.x, expected.batch.x)
    assert torch.equal(found.batch.y, expected.batch.y)
