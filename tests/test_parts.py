"""The parts of a matching attack, each against an oracle that is written out."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from batches import alike
from table import FLAT
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.labels.gradinversion import GradInversionRule
from leakgauge.attacks.labels.idlg import IDLG
from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.laplace import Laplace
from leakgauge.attacks.likelihoods.uninformative import Uninformative
from leakgauge.attacks.priors.batchnorm import BatchNormStatistics, _targets
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.searches.best import Best
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers import adam as local_adam
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.capabilities import EAVESDROPPER, INFORMED, SERVER
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Inputs, Model, Status, no_tick
from leakgauge.defenses.clipping import Clipping
from leakgauge.testing import sample
from leakgauge.testing.sampling import INPUTS
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

# Likelihoods


def two_updates(seed=0):
    rng = stream(seed)
    draw = lambda: {"a": torch.randn(3, 2, generator=rng), "b": torch.randn(4, generator=rng)}  # noqa: E731
    return draw(), draw()


def numbers(update):
    return [float(number) for value in update.values() for number in value.flatten()]


def cosine_of(g, s):
    return sum(a * b for a, b in zip(g, s, strict=True)) / (math.hypot(*g) * math.hypot(*s))


@pytest.mark.parametrize(
    ("likelihood", "oracle"),
    [
        (Gaussian(weight=0.5), lambda g, s: 0.5 * sum((a - b) ** 2 for a, b in zip(g, s, strict=True))),
        (Laplace(weight=3.0), lambda g, s: 3 * sum(abs(a - b) for a, b in zip(g, s, strict=True))),
        (Cosine(weight=2.0), lambda g, s: 2 * (1 - cosine_of(g, s))),
        (Uninformative(), lambda g, s: 0.0),
    ],
    ids=["gaussian", "laplace", "cosine", "uninformative"],
)
def test_a_likelihood_is_what_its_formula_says(likelihood, oracle):
    guess, seen = two_updates()
    assert float(likelihood(guess, seen)) == pytest.approx(oracle(numbers(guess), numbers(seen)), rel=1e-5)
    partly = {"b": seen["b"]}
    assert float(likelihood(guess, partly)) == pytest.approx(oracle(numbers({"b": guess["b"]}), numbers(partly)), rel=1e-5)


def test_the_cosine_sees_direction_and_sign_alone():
    guess, _ = two_updates()
    for factor, expected in ((0.01, 0.0), (100.0, 0.0), (-1.0, 2.0), (0.0, 1.0)):
        scaled = tree.apply(lambda value, factor=factor: factor * value, guess)
        assert float(Cosine()(scaled, guess)) == pytest.approx(expected, abs=1e-6)


# Priors


def seen_of(victim, client=FedSGD(), examples=2, **options):
    return sample(victim, examples=examples, **options).observe(client)


def test_total_variation_is_the_mean_difference_of_neighbors():
    seen = seen_of(ResNet(blocks=(1,), widths=(2,)), inputs=Inputs((2, 3, 4), 4, mean=(0.1, 0.2), std=(0.5, 0.25)))
    x = torch.rand(2, 2, 3, 4, generator=stream(3))
    across, down = [], []
    for n in range(2):
        for c, std in enumerate((0.5, 0.25)):
            across += [abs(float(x[n, c, i, j + 1] - x[n, c, i, j])) / std for i in range(3) for j in range(3)]
            down += [abs(float(x[n, c, i + 1, j] - x[n, c, i, j])) / std for i in range(2) for j in range(4)]
    expected = 0.3 * (sum(across) / len(across) + sum(down) / len(down))
    assert float(TotalVariation(weight=0.3)(alike(x), seen)) == pytest.approx(expected, rel=1e-5)
    assert float(TotalVariation()(alike(torch.full_like(x, 0.7)), seen)) == pytest.approx(0, abs=1e-6)


def test_l2_is_the_mean_norm_of_normalized_pixels():
    seen = seen_of(FLAT)
    x = torch.rand(3, 1, 8, 8, generator=stream(3))
    norms = [math.sqrt(sum(((float(v)) ** 2) for v in image.flatten())) for image in seen.model.inputs.normalize(x)]
    assert float(L2(weight=0.2)(alike(x), seen)) == pytest.approx(0.2 * sum(norms) / 3, rel=1e-5)


def batchnorm_net(seed=0):
    """Two convolutions, each with BatchNorm that remembers some training; small enough to go through by hand."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4)
    )
    rng = stream(seed, "net")
    params = {name: torch.randn(value.shape, generator=rng) for name, value in net.named_parameters()}
    buffers = {
        name: torch.tensor(5) if name.endswith("tracked") else torch.rand(value.shape, generator=rng) + 0.5
        for name, value in net.named_buffers()
    }
    return Model(net, params, buffers, nn.functional.cross_entropy, INPUTS)


def features(model, x):
    """What enters each BatchNorm layer, and the running statistics there, without a hook."""
    p, b = model.params, model.buffers
    first = nn.functional.conv2d((x - 0.5) / 0.25, p["0.weight"], p["0.bias"])
    normal = nn.functional.batch_norm(first, b["1.running_mean"], b["1.running_var"], p["1.weight"], p["1.bias"])
    second = nn.functional.conv2d(normal.relu(), p["3.weight"], p["3.bias"])
    return {"1": first, "4": second}


def statistics(values):
    channels = [values[:, channel].flatten() for channel in range(values.shape[1])]
    return torch.stack([c.mean() for c in channels]), torch.stack([((c - c.mean()) ** 2).sum() / (len(c) - 1) for c in channels])


def batchnorm_distance(model, x, targets):
    total = 0.0
    for name, values in features(model, x).items():
        mean, variance = statistics(values)
        total += float((mean - targets[name][0]).norm() + (variance - targets[name][1]).norm())
    return total


def images(count, seed=0):
    return Batch(torch.rand(count, 1, 8, 8, generator=stream(seed, "x")), torch.arange(count) % 4)


def test_batchnorm_compares_with_the_running_statistics():
    model = batchnorm_net()
    seen = observe(model, images(3), client=FedSGD(), threat=SERVER, rng=stream(0))
    x = images(3, seed=1).x
    targets = {name: (model.buffers[f"{name}.running_mean"], model.buffers[f"{name}.running_var"]) for name in ("1", "4")}
    expected = 0.5 * batchnorm_distance(model, x, targets)
    assert float(BatchNormStatistics(weight=0.5)(alike(x), seen)) == pytest.approx(expected, rel=1e-4)


def test_the_prior_leaves_no_hook_behind():
    seen = observe(batchnorm_net(), images(2), client=FedSGD(), threat=SERVER, rng=stream(0))
    BatchNormStatistics()(images(2), seen)
    assert not any(module._forward_pre_hooks for module in seen.model.net.modules())


@pytest.mark.parametrize(
    "client",
    [
        FedSGD(batchnorm="train"),
        FedAvg(optimizer=SGD(learning_rate=1e-6), batchnorm="train"),
        FedAvg(epochs=4, optimizer=SGD(learning_rate=1e-9), batchnorm="train"),
    ],
    ids=repr,
)
def test_buffers_after_local_training_give_the_statistics_of_the_batch_away(client):
    model = batchnorm_net()
    seen = seen_with_buffers(model, images(6), client)
    net = nn.functional
    first = net.conv2d((images(6).x - 0.5) / 0.25, model.params["0.weight"], model.params["0.bias"])
    normal = net.batch_norm(first, None, None, model.params["1.weight"], model.params["1.bias"], training=True)
    second = net.conv2d(normal.relu(), model.params["3.weight"], model.params["3.bias"])
    for name, values in {"1": first, "4": second}.items():
        mean, variance = statistics(values)
        torch.testing.assert_close(_targets(seen)[name].mean, mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(_targets(seen)[name].variance, variance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "client", [FedSGD(batchnorm="train"), FedAvg(optimizer=SGD(learning_rate=0.1), batchnorm="train")], ids=repr
)
def test_the_truth_has_the_statistics_that_the_client_sent(client):
    model = batchnorm_net()
    truth, other = images(6), images(6, seed=1)
    seen = seen_with_buffers(model, truth, client)
    assert float(BatchNormStatistics(weight=1.0)(truth, seen)) < 1e-3
    assert float(BatchNormStatistics(weight=1.0)(other, seen)) > 1e-1
    assert all(torch.equal(value, seen.model.buffers[name]) for name, value in model.buffers.items())


def seen_with_buffers(model, batch, client):
    return observe(model, batch, client=client, threat=INFORMED, rng=stream(0))


def test_batchnorm_needs_batchnorm():
    with pytest.raises(OutOfScope, match="no BatchNorm layer"):
        BatchNormStatistics()(images(2), seen_of(FLAT))


# Spaces


def test_pixels_start_where_they_say():
    seen = seen_of(FLAT, examples=1)
    normal = Pixels().start(seen, 50, rng=stream(0))
    assert abs(float(normal.mean())) < 0.05
    assert float(normal.std()) == pytest.approx(1, abs=0.05)
    uniform = Pixels(start_from="uniform").decode(Pixels(start_from="uniform").start(seen, 50, rng=stream(0)), seen)
    assert -1e-6 <= float(uniform.min()) < 0.01
    assert 0.99 < float(uniform.max()) <= 1 + 1e-6
    gray = Pixels(start_from="gray")
    torch.testing.assert_close(gray.decode(gray.start(seen, 2, rng=stream(0)), seen), torch.full((2, 1, 8, 8), 0.5))
    pink = Pixels(start_from="pink").decode(Pixels(start_from="pink").start(seen, 200, rng=stream(0)), seen)
    assert float(pink.min()) >= 0
    assert float(pink.max()) <= 1
    assert _neighbors(pink) < 0.7 * _neighbors(uniform)
    tiles = Pixels(start_from="tiles").start(seen, 3, rng=stream(0))
    quarters = [tiles[..., top : top + 4, left : left + 4] for top in (0, 4) for left in (0, 4)]
    assert all(torch.equal(quarter, quarters[0]) for quarter in quarters)
    assert _neighbors(quarters[0]) > 0.9 * _neighbors(uniform)
    odd = Pixels(start_from="tiles").start(seen_of(FLAT, inputs=Inputs((1, 5, 7), 4)), 1, rng=stream(0))
    assert odd.shape == (1, 1, 5, 7)
    assert torch.equal(odd[..., 0, :3], odd[..., 3, 4:])


def _neighbors(x):
    """How far pixels differ from the next, against how far from any other."""
    return float((x[..., 1:] - x[..., :-1]).std() / x.std())


def test_pixels_are_projected_to_the_nearest_allowed_ones():
    seen = seen_of(MLP(hidden=(4,), normalize=True), inputs=Inputs((1, 1, 3), 4, low=-1, high=2, mean=(0.5,), std=(0.25,)))
    pixels = torch.tensor([[[[-3.0, 0.3, 5.0]]]])
    point = seen.model.inputs.normalize(pixels)
    assert Pixels().decode(Pixels().project(point, seen), seen).flatten().tolist() == pytest.approx([-1, 0.3, 2])
    assert torch.equal(Pixels(boxed=False).project(point, seen), point)
    torch.testing.assert_close(Pixels().decode(point, seen), pixels)


# Replays


def test_one_gradient_is_scaled_by_what_was_granted():
    case = sample(FLAT)
    seen = case.observe(FedAvg(epochs=3, optimizer=SGD(learning_rate=0.2)))
    gradient = FedSGD()(case.model, case.batch).delta
    for name, value in OneGradient()(seen, case.batch).items():
        torch.testing.assert_close(value, 3 * 0.2 * gradient[name])
    for name, value in OneGradient(scaled=False)(seen, case.batch).items():
        torch.testing.assert_close(value, gradient[name])


def test_one_gradient_may_use_the_statistics_of_the_batch():
    case = sample(ResNet(blocks=(1,), widths=(4,)))
    seen = case.observe(FedSGD(batchnorm="train"))
    for name, value in OneGradient(batchnorm="train")(seen, case.batch).items():
        torch.testing.assert_close(value, seen.update.delta[name])


def test_one_gradient_needs_a_scale_only_where_it_scales():
    case = sample(FLAT)
    seen = case.observe(FedAvg(optimizer=local_adam.Adam()))
    with pytest.raises(OutOfScope, match="has no scale"):
        OneGradient()(seen, case.batch)
    assert OneGradient(scaled=False).needs == frozenset()
    assert OneGradient().needs == {"scale"}


def test_granted_repeats_the_defended_client():
    case = sample(FLAT)
    client = FedAvg(epochs=2, batch_size=1, optimizer=local_adam.Adam())
    seen = case.observe(client, defenses=[Clipping(norm=0.01)])
    expected = Clipping(norm=0.01).protect(client)(case.model, case.batch).delta
    for name, value in Granted()(seen, case.batch).items():
        torch.testing.assert_close(value, expected[name])
    with pytest.raises(UsageError, match="does not grant procedure"):
        Granted()(case.observe(client, threat=EAVESDROPPER), case.batch)


# Labels


def without(seen, name):
    delta = {key: value for key, value in seen.update.delta.items() if key != name}
    return replace(seen, update=replace(seen.update, delta=delta))


LABEL_VICTIMS = {
    "mlp": FLAT,
    "sigmoid": MLP(hidden=(16, 16), activation="sigmoid"),
    "resnet": ResNet(blocks=(1,), widths=(4,)),
}


@pytest.mark.parametrize("victim", LABEL_VICTIMS.values(), ids=LABEL_VICTIMS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_idlg_finds_the_label_of_one_example(victim, bias):
    found, true = [], []
    for seed in range(50):
        case = sample(victim, examples=1, seed=seed)
        label = torch.randint(4, (1,), generator=stream(seed))
        seen = replace(case, batch=Batch(case.batch.x, label)).observe(FedSGD(), threat=EAVESDROPPER)
        head = [name for name in seen.model.params if name.endswith("bias")][-1]
        found.append(int(IDLG().infer(seen if bias else without(seen, head), 1, rng=stream(0))))
        true.append(int(label))
    assert found == true
    assert set(true) == {0, 1, 2, 3}


def test_idlg_is_for_one_example():
    seen = seen_of(FLAT)
    with pytest.raises(OutOfScope, match="one example, the update holds 2"):
        IDLG().infer(seen, 2, rng=stream(0))


@pytest.mark.parametrize("rule", [IDLG(), GradInversionRule()], ids=repr)
def test_a_rule_needs_the_head(rule):
    seen = seen_of(FLAT, examples=1)
    headless = without(without(seen, "3.weight"), "3.bias")
    with pytest.raises(OutOfScope, match=r"does not hold '3\.weight'"):
        rule.infer(headless, 1, rng=stream(0))
    net = nn.Conv2d(1, 4, 8)
    convolutional = replace(seen, model=replace(seen.model, net=net, params=dict(net.named_parameters())))
    with pytest.raises(OutOfScope, match="no linear layer with 4 outputs"):
        rule.infer(convolutional, 1, rng=stream(0))


@pytest.mark.parametrize("victim", LABEL_VICTIMS.values(), ids=LABEL_VICTIMS)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_gradinversion_finds_labels_that_all_differ(victim, count):
    inputs = Inputs((1, 8, 8), 20, mean=(0.5,), std=(0.25,))
    right = 0
    for seed in range(20):
        case = sample(victim, examples=count, seed=seed, inputs=inputs)
        labels = torch.randperm(20, generator=stream(seed))[:count]
        seen = replace(case, batch=Batch(case.batch.x, labels)).observe(FedSGD(), threat=EAVESDROPPER)
        found = GradInversionRule().infer(seen, count, rng=stream(0))
        assert found.tolist() == sorted(found.tolist())
        right += len({*found.tolist()} & {*labels.tolist()})
    assert right >= 0.95 * 20 * count


def test_gradinversion_finds_no_more_labels_than_classes():
    with pytest.raises(OutOfScope, match="5 examples, 4 classes"):
        GradInversionRule().infer(seen_of(FLAT, examples=5), 5, rng=stream(0))


def test_known_labels_are_the_granted_ones_in_order():
    case = sample(FLAT, examples=3)
    assert case.batch.y.tolist() != sorted(case.batch.y.tolist())
    assert Known().infer(case.observe(FedSGD()), 3, rng=stream(0)).tolist() == sorted(case.batch.y.tolist())
    with pytest.raises(UsageError, match="does not grant labels"):
        Known().infer(case.observe(FedSGD(), threat=SERVER), 3, rng=stream(0))


def test_joint_labels_start_by_chance():
    seen = seen_of(FLAT)
    one, other = (Joint().infer(seen, 100, rng=stream(seed)) for seed in range(2))
    assert one.shape == (100, 4)
    assert not torch.equal(one, other)
    assert float(one.std()) == pytest.approx(1, abs=0.1)


# Searches


def free(point):
    return point


def bowl(point):
    return (point["x"] - torch.tensor([1.0, -2.0, 0.5])).square().sum() + 3 * point["y"].square().sum()


START = {"x": torch.zeros(3), "y": torch.ones(2)}


def search(one, objective=bowl, start=START, project=free, goal=0.0):
    return one.minimize(objective, start, project=project, goal=goal, rng=stream(0), tick=no_tick)


@pytest.mark.parametrize(
    "one",
    [LBFGS(steps=10), LBFGS(steps=5, line_search="strong_wolfe"), Adam(steps=300), Adam(steps=300, schedule="cosine", warmup=20)],
    ids=repr,
)
def test_a_search_finds_the_bottom_of_a_bowl(one):
    found = search(one)
    assert found.status is Status.OK
    assert found.loss < 1e-4
    torch.testing.assert_close(found.point["x"], torch.tensor([1.0, -2.0, 0.5]), atol=1e-2, rtol=0)
    assert found.loss == float(bowl(found.point))


@pytest.mark.parametrize("one", [LBFGS(steps=3), Adam(steps=5), Adam(steps=5, signed=True, learning_rate=5.0)], ids=repr)
@pytest.mark.parametrize("best", ["first", "last", "between"])
def test_the_loss_is_that_of_the_very_point(one, best):
    """A search that pairs a loss with the point after the step is off by one; at either end it shows."""
    start = {"first": {"x": torch.tensor([1.0, -2.0, 0.5]), "y": torch.zeros(2)}, "last": START, "between": START}[best]
    calls = []

    def objective(point):
        calls.append(None)
        rising = 100.0 * (len(calls) == 3) if best == "between" else 0.0
        return bowl(point) + rising

    found = search(one, objective, start)
    assert found.loss == float(bowl(found.point))
    assert found.loss == min(found.trace.tolist())
    if best == "first":
        assert found.loss == 0
        assert torch.equal(found.point["x"], start["x"])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_point_after_the_last_step_counts(steps):
    for one in (Adam(steps=steps, learning_rate=0.01), LBFGS(steps=steps, inner=1, learning_rate=0.01)):
        found = search(one)
        assert len(found.trace) == steps + 1
        assert found.trace.tolist() == sorted(found.trace.tolist(), reverse=True)
        assert found.loss == found.trace[-1]


def test_best_keeps_a_copy():
    point = {"x": torch.zeros(1)}
    best = Best(point)
    assert best.offer(point, 2.0)
    point["x"] += 1
    assert not best.offer(point, 2.0)
    assert not best.offer(point, math.nan)
    assert best.point["x"] == 0
    assert best.found().status is Status.DIVERGED
    assert best.offer(point, 1.0)
    assert (best.found().loss, best.found().status) == (1.0, Status.OK)
    assert Best(point).found().status is Status.DIVERGED


class Reading(TorchDispatchMode):
    """Counts how often numbers are read out of tensors, for which a device that computes apart would have to be waited for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("goal", [-1.0, 0.3])
def test_adam_does_not_wait_for_the_device_that_computes(goal, monkeypatch):
    def minimized():
        given = {"goals": [goal, -1.0], "targets": [0, 1], "rngs": [stream(0), stream(1)], "tick": no_tick}
        starts = {"x": torch.tensor([[3.0, 1.0], [2.0, 9.0]])}
        search = Adam(learning_rate=0.5, steps=64, schedule="cosine")
        return search.minimize_each(lambda point: (point["x"] ** 2).sum(), starts, project=lambda point: point, **given)

    expected = minimized()
    monkeypatch.setattr("leakgauge.attacks.searches.best._computes_apart", lambda value: True)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda value: [one.item() for one in value.flatten()])
    with Reading() as reading:
        found = minimized()
    counted = 64  # torch counts Adam's steps in a tensor that lies on the host, whatever device computes
    assert reading.count - counted <= 64 // 16 + 2 * 2 + 2, "now and then, and once at the end"
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.point["x"], other.point["x"])
        assert one.loss == other.loss
        assert torch.equal(one.trace, other.trace)


@pytest.mark.parametrize("one", [LBFGS(), Adam()], ids=repr)
def test_divergence_is_told_with_the_best_point_before_it(one):
    calls = []

    def cliff(point):
        calls.append(None)
        return bowl(point) * (math.nan if len(calls) >= 3 else 1)

    found = search(one, cliff)
    assert found.status is Status.DIVERGED
    assert len(calls) == 3 or isinstance(one, LBFGS)
    assert found.loss == float(bowl(found.point))
    hopeless = search(one, lambda point: bowl(point) * math.inf)
    assert hopeless.status is Status.DIVERGED
    assert math.isnan(hopeless.loss)


def test_a_rate_that_is_too_large_diverges():
    def quartic(point):
        return (point["x"] ** 4).sum()

    found = search(LBFGS(learning_rate=1e6, inner=1), quartic, {"x": torch.ones(2)})
    assert found.status is Status.DIVERGED
    assert found.loss <= 2


@pytest.mark.parametrize("one", [LBFGS(inner=1), Adam()], ids=repr)
def test_a_search_ends_at_its_goal(one):
    found = search(one, goal=1.0)
    assert found.loss <= 1.0
    assert len(found.trace) < 100
    assert all(loss > 1.0 for loss in found.trace.tolist()[:-2])
    assert len(search(one, goal=1e9).trace) <= 2


def test_lbfgs_gives_up_where_it_creeps():
    slope = torch.zeros(3)

    def flat(point):
        return 1 + 1e-9 * point["x"].sum() + slope.sum()

    found = search(LBFGS(steps=300, patience=4, inner=1), flat, {"x": torch.zeros(3)})
    assert len(found.trace) == 6  # patience, one to compare with, and the last point
    assert len(search(LBFGS(steps=30, patience=29, inner=1), flat, {"x": torch.zeros(3)}).trace) == 31


@pytest.mark.parametrize("one", [LBFGS(steps=20), Adam(steps=100)], ids=repr)
def test_a_search_stays_where_it_is_allowed(one):
    def project(point):
        return {**point, "x": point["x"].clamp(-0.25, 0.25)}

    found = search(one, start={"x": torch.full((3,), 9.0), "y": torch.ones(2)}, project=project)
    assert float(found.point["x"].abs().max()) <= 0.25 + 1e-6
    torch.testing.assert_close(found.point["x"], torch.tensor([0.25, -0.25, 0.25]), atol=1e-3, rtol=0)


def rates(one):
    """The rates at which a search really moves: along a slope of 1, signed steps are the rate itself."""
    points = []

    def plane(point):
        points.append(float(point["x"].detach()))
        return point["x"]

    search(one, plane, {"x": torch.zeros(()).double()}, goal=-math.inf)
    return [before - after for before, after in itertools.pairwise(points)]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Adam(steps=8, signed=True, learning_rate=0.5), [0.5] * 8),
        (
            Adam(steps=8, signed=True, schedule="step", learning_rate=1.0),
            [1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001],
        ),
        (
            Adam(steps=6, signed=True, schedule="cosine", warmup=2, learning_rate=1.0),
            [0.5, 1.0, 1.0, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4],
        ),
        (Adam(steps=4, signed=True, warmup=3, learning_rate=0.3), [0.1, 0.2, 0.3, 0.3]),
        (Adam(steps=5, learning_rate=0.2), [0.2] * 5),
    ],
    ids=repr,
)
def test_the_schedule_is_the_hand_computed_one(one, expected):
    assert rates(one) == pytest.approx(expected, rel=1e-6)


def test_adam_is_torchs():
    target = torch.tensor([1.0, -2.0, 0.5])
    x = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=0.05)
    trace = []
    for _ in range(7):
        optimizer.zero_grad()
        loss = (x - target).square().sum()
        trace.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    found = search(Adam(steps=7, learning_rate=0.05), lambda point: (point["x"] - target).square().sum(), {"x": torch.zeros(3)})
    assert found.trace.tolist()[:-1] == pytest.approx(trace, rel=1e-6)
    torch.testing.assert_close(found.point["x"], x.detach())


def test_langevin_noise_comes_from_the_seed():
    noisy = Adam(steps=20, langevin=5.0)
    one, other = (noisy.minimize(bowl, START, project=free, goal=0.0, rng=stream(seed), tick=no_tick) for seed in (0, 1))
    assert not torch.equal(one.point["x"], other.point["x"])
    assert torch.equal(one.point["x"], search(noisy).point["x"])


# Groups


def test_shifted_copies_align_exactly():
    image = torch.rand(1, 3, 8, 8, generator=stream(0))
    shifts = [(0, 0), (1, 2), (-2, 1)]
    members = torch.stack([image.roll(shift, (-2, -1)) for shift in shifts])
    consensus = GroupConsistency().consensus(torch.cat([members, image[None].expand(6, -1, -1, -1, -1)]))
    torch.testing.assert_close(consensus, image)
    plain = GroupConsistency(register=False).consensus(members)
    torch.testing.assert_close(plain, members.mean(0))


def test_the_penalty_is_the_distance_to_the_consensus():
    members = torch.rand(3, 2, 1, 4, 4, generator=stream(0))
    group = GroupConsistency(members=3, weight=0.5, register=False)
    mean = (members[0] + members[1] + members[2]) / 3
    expected = 0.5 * sum((members[g, n] - mean[n]).square().sum().sqrt() / 2 for g in range(3) for n in range(2))
    torch.testing.assert_close(group.penalty(members), expected)
    assert float(group.penalty(members[:1].expand(3, -1, -1, -1, -1))) < 1e-6
    assert torch.isfinite(torch.autograd.grad(group.penalty(members.requires_grad_()), members)[0]).all()


def test_a_group_pulls_together_and_gives_its_best_member():
    starts = [{"x": torch.full((1, 2), value)} for value in (5.0, -5.0, 0.5)]

    def objective(point):
        return 0.01 * (point["x"] - 0.5).square().sum()

    def spread(weight):
        seen = []

        def watched(point):
            seen.append(point["x"].detach().clone())
            return objective(point)

        group = GroupConsistency(members=3, weight=weight)
        found = group.minimize(Adam(steps=50), watched, starts, project=free, goal=-1.0, rng=stream(0), tick=no_tick)
        assert found.point["x"].shape == (1, 2)
        assert found.loss == pytest.approx(float(objective(found.point)))
        return float(torch.stack(seen[-3:]).std(dim=0).max()), found

    together, found = spread(1.0)
    apart, _ = spread(0.0)
    assert together < 0.7 * apart
    assert found.loss <= 0.01 * 2 * 5.5**2


def test_a_group_of_lost_members_diverges():
    starts = [{"x": torch.ones(1, 2)}, {"x": torch.zeros(1, 2)}]
    group = GroupConsistency(members=2)
    found = group.minimize(
        Adam(steps=3), lambda point: point["x"].sum() * math.nan, starts, project=free, goal=0.0, rng=stream(0), tick=no_tick
    )
    assert found.status is Status.DIVERGED
