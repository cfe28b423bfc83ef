"""The nouns, arithmetic on named tensors, named chance, gradients, and the anatomy of networks."""

import dataclasses
import itertools

import pytest
import torch
from table import FLAT
from torch import nn

from leakgauge.core import anatomy, tree
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.capabilities import EAVESDROPPER, SERVER
from leakgauge.core.differentiation import is_replayed
from leakgauge.core.errors import LeakgaugeError, MissingExtra, OutOfScope, UsageError, suggestion
from leakgauge.core.protocols import Pool
from leakgauge.core.rng import fork, normal_like, stream, uniform
from leakgauge.core.types import Batch, Capability, Inputs, Model, Observation, ThreatModel, Update, part_of
from leakgauge.testing import sample
from leakgauge.victims.resnet import ResNet
from leakgauge.victims.vit import ViT

# Types


def test_normalizing_is_per_channel_and_undone():
    inputs = Inputs((2, 2, 2), 3, mean=(0.5, 0.1), std=(0.25, 2.0))
    x = torch.rand(4, 2, 2, 2, generator=stream(0))
    normal = inputs.normalize(x)
    torch.testing.assert_close(normal[:, 0], (x[:, 0] - 0.5) / 0.25)
    torch.testing.assert_close(normal[:, 1], (x[:, 1] - 0.1) / 2)
    torch.testing.assert_close(inputs.denormalize(normal), x)


def test_one_mean_serves_all_channels_and_vectors():
    x = torch.rand(4, 5, generator=stream(0))
    torch.testing.assert_close(Inputs((5,), 3, mean=(0.5,), std=(2.0,)).normalize(x), (x - 0.5) / 2)
    assert Inputs((5,), 3).normalize(x) is x
    assert Inputs((5,), 3).denormalize(x) is x


def test_batches_have_a_length_and_parts():
    batch = Batch(torch.arange(6).reshape(3, 2), torch.arange(3))
    assert len(batch) == 3
    assert batch[1:].y.tolist() == [1, 2]
    assert batch[torch.tensor([2, 0])].x.tolist() == [[4, 5], [0, 1]]
    assert batch.to("cpu").y is batch.y
    assert len(Pool(batch.x, batch.y, Inputs((2,), 3), ("a", "b", "c"))) == 3


def test_a_model_is_its_weights_and_not_its_network():
    case = sample(ResNet(blocks=(1,), widths=(4,)))
    doubled = dataclasses.replace(case.model, params=tree.apply(lambda value: 2 * value, case.model.params))
    assert not torch.allclose(case.model.logits(case.batch.x), doubled.logits(case.batch.x))
    assert case.model.to("cpu").params.keys() == case.model.params.keys()
    before = tree.detach(case.model.buffers)
    buffers = tree.detach(case.model.buffers)
    trained = case.model.forward(case.model.params, buffers, case.batch.x, training=True)
    assert not torch.allclose(trained, case.model.logits(case.batch.x))
    assert all(torch.equal(value, before[name]) for name, value in case.model.buffers.items())
    assert any(not torch.equal(value, before[name]) for name, value in buffers.items())


def test_nouns_are_frozen():
    batch = Batch(torch.zeros(1), torch.zeros(1))
    model = sample(FLAT).model
    for noun in (Inputs((1,), 2), batch, model, Update({}), EAVESDROPPER, Observation(model, Update({}), EAVESDROPPER)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(noun, dataclasses.fields(noun)[0].name, None)


def test_the_count_is_there_where_it_is_granted():
    case = sample(FLAT)
    assert Observation(case.model, Update({}, examples=3), SERVER).count == 3
    with pytest.raises(UsageError, match=r"^threat: 'eavesdropper' does not grant count, which this attack needs; choose server"):
        _ = Observation(case.model, Update({}), EAVESDROPPER).count


def test_a_threat_model_contains_its_grants():
    threat = ThreatModel("mine", frozenset({Capability.COUNT}))
    assert Capability.COUNT in threat
    assert Capability.LABELS not in threat
    assert Capability("count") is Capability.COUNT


def test_the_progress_of_parts_is_that_of_the_whole():
    shares = []
    for done in range(3):
        part_of(shares.append, done, 3)(0.0)
        part_of(shares.append, done, 3)(1.0)
    assert shares == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])


# Trees


def test_trees_are_put_together_by_name():
    one = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    other = {"b": torch.tensor([[30.0]]), "a": torch.tensor([10.0, 20.0]), "c": torch.ones(1)}
    assert {k: v.tolist() for k, v in tree.apply(torch.add, one, other).items()} == {"a": [11, 22], "b": [[33]]}
    with pytest.raises(KeyError):
        tree.apply(torch.add, other, one)
    assert tree.flatten(one).tolist() == [1, 2, 3]
    assert float(tree.squared_norm(one)) == 14


def test_detaching_copies():
    leaf = torch.ones(2, requires_grad=True)
    detached = tree.detach({"a": leaf * 2})["a"]
    assert detached.grad_fn is None
    assert not detached.requires_grad
    plain = torch.ones(2)
    copied = tree.detach({"a": plain})["a"]
    plain.zero_()
    assert copied.tolist() == [1, 1]


# Chance


def test_a_stream_is_its_seed_and_name():
    draw = lambda *path: float(torch.rand((), generator=stream(*path)))  # noqa: E731
    assert draw(0, "a", 1) == draw(0, "a", 1)
    others = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a"), (0,), (0, "a", "1"), (0, "a1"), (-1,), (2**70,)]
    assert len({draw(*path) for path in others}) == len(others)


def test_streams_are_pinned():
    """Records of an earlier version can be made again only while these numbers stay."""
    assert [int(torch.randint(1000, (), generator=stream(0, name))) for name in ("victim", "batch", "attack")] == [430, 660, 314]


def test_forks_leave_their_siblings_alone():
    rng = stream(0)
    one, two = fork(rng), fork(rng)
    torch.rand(10, generator=one)
    again = stream(0)
    fork(again)
    assert torch.equal(torch.rand(3, generator=two), torch.rand(3, generator=fork(again)))


def test_draws_follow_their_like():
    like = torch.zeros(2, 3, dtype=torch.float64)
    drawn = normal_like(like, stream(0))
    assert (drawn.shape, drawn.dtype) == (like.shape, like.dtype)
    sizes = uniform((10_000,), stream(0))
    assert 0 <= float(sizes.min()) < 0.01 < 0.99 < float(sizes.max()) < 1
    state = torch.get_rng_state()
    normal_like(like, stream(0)), uniform((3,), stream(0)), fork(stream(0))
    assert torch.equal(state, torch.get_rng_state())


# Gradients


def test_the_gradient_of_a_linear_model_is_the_textbook_one():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    params = {"1.weight": torch.tensor([[0.1, 0.2, 0.3], [0.0, -0.1, 0.4]]), "1.bias": torch.tensor([0.5, -0.5])}
    model = Model(net, params, {}, nn.functional.cross_entropy, Inputs((3,), 2))
    x, y = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]]), torch.tensor([1, 0])
    gradient = loss_gradient(model, Batch(x, y)).params
    weight, bias = torch.zeros(2, 3), torch.zeros(2)
    for row, label in zip(x, y, strict=True):
        error = (params["1.weight"] @ row + params["1.bias"]).softmax(0)
        error[label] -= 1
        weight += torch.outer(error, row) / 2
        bias += error / 2
    torch.testing.assert_close(gradient["1.weight"], weight)
    torch.testing.assert_close(gradient["1.bias"], bias)
    assert list(gradient) == list(params)


@pytest.mark.parametrize(("pixels", "labels", "enabled"), [*itertools.product([False, True], repeat=3)])
def test_a_batch_is_replayed_where_it_requires_a_gradient(pixels, labels, enabled):
    batch = Batch(torch.zeros(1, requires_grad=pixels), torch.zeros(1, requires_grad=labels))
    with torch.set_grad_enabled(enabled):
        assert is_replayed(batch) == (enabled and (pixels or labels))


def test_parameters_that_require_a_gradient_stay_in_the_graph():
    case = sample(FLAT, examples=1)
    params = {name: value.clone().requires_grad_() for name, value in case.model.params.items()}
    batch = Batch(case.batch.x.requires_grad_(), case.batch.y)
    values = loss_gradient(dataclasses.replace(case.model, params=params), batch).params
    (slope,) = torch.autograd.grad(values["3.bias"].square().sum(), params["1.weight"])
    assert slope.any()


def test_gradients_are_taken_without_touching_the_network():
    case = sample(ResNet(blocks=(1,), widths=(4,)))
    before = tree.detach(case.model.buffers)
    gradient = loss_gradient(case.model, case.batch, training=True)
    assert all(torch.equal(value, before[name]) for name, value in case.model.buffers.items())
    assert any(not torch.equal(value, before[name]) for name, value in gradient.buffers.items())
    assert all(parameter.is_meta and parameter.grad is None for parameter in case.model.net.parameters())


# Anatomy


def of(net, shape=(1, 4, 4), classes=3):
    return Model(net, dict(net.named_parameters()), dict(net.named_buffers()), nn.functional.cross_entropy, Inputs(shape, classes))


class Backwards(nn.Module):
    """Registers its layers from the last to the first, and one that never runs at the very end."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)
        self.first = nn.Linear(16, 6)
        self.spare = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)).relu())


class Routed(nn.Module):
    """A linear layer behind a function of the input, beside a convolution that runs first."""

    def __init__(self, route):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 3, 4), nn.Linear(32, 3)
        self.route = route

    def forward(self, x):
        return self.conv(x).flatten(1) + self.linear(self.route(x).flatten(1))


def test_the_head_is_the_linear_layer_that_runs_last():
    assert anatomy.head(sample(FLAT).model) == ("3.weight", "3.bias")
    assert anatomy.head(sample(ViT(dim=8, depth=1, heads=2)).model) == ("head.weight", "head.bias")
    assert anatomy.head(of(nn.Linear(4, 3, bias=False), shape=(4,))) == ("weight", None)
    assert anatomy.head(of(Backwards())) == ("last.weight", "last.bias")
    assert anatomy.running_order(of(Backwards())) == ["first", "last"]
    with pytest.raises(OutOfScope, match="no linear layer with 3 outputs"):
        anatomy.head(of(nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten())))


def test_a_traced_pass_changes_nothing():
    model = of(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 3)).train())
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    anatomy.input_layer(model)
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.net.modules())


ROUTES = {
    "straight": lambda x: x,
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "flipped": lambda x: x.flip(-1),
    "normalized": lambda x: (x - torch.tensor([0.2, 0.6]).reshape(2, 1, 1)) / torch.tensor([0.5, 0.1]).reshape(2, 1, 1),
    "negative": lambda x: 1 - x,
}


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_the_input_layer_is_found_by_what_enters_it(route):
    layer = anatomy.input_layer(of(Routed(route), shape=(2, 4, 4)))
    assert layer[:2] == ("linear.weight", "linear.bias")
    x = torch.rand(3, 2, 4, 4)
    assert torch.allclose(layer.pixels(route(x).flatten(1)), x.flatten(1), atol=1e-5)


@pytest.mark.parametrize(
    "route",
    [
        lambda x: x.square(),
        lambda x: x[:, :1].repeat(1, 2, 1, 1),
        lambda x: x - x.mean((1, 2, 3), keepdim=True),
        lambda x: 2 * x.flip(-1),
        torch.zeros_like,
    ],
    ids=["squared", "a channel twice", "centered", "flipped and scaled", "nothing"],
)
def test_a_layer_that_sees_something_else_is_no_input_layer(route):
    with pytest.raises(OutOfScope, match="no linear layer with bias sees the whole input"):
        anatomy.input_layer(of(Routed(route), shape=(2, 4, 4)))


def test_the_input_layer_needs_a_bias():
    assert anatomy.input_layer(sample(FLAT).model)[:2] == ("1.weight", "1.bias")
    for net in (nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False)), nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten())):
        with pytest.raises(OutOfScope, match="no linear layer with bias sees the whole input"):
            anatomy.input_layer(of(net))


def test_batch_norms_are_those_that_keep_statistics():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1, track_running_stats=False), nn.GroupNorm(1, 1), nn.BatchNorm1d(2))
    assert list(anatomy.batch_norms(of(net))) == ["0", "3"]


# Errors


def test_errors_are_one_family():
    assert issubclass(UsageError, LeakgaugeError)
    assert issubclass(OutOfScope, LeakgaugeError)
    assert not issubclass(OutOfScope, UsageError)
    assert (
        str(MissingExtra("the thing", "extra"))
        == "the thing needs an optional dependency: install it with  pip install 'leakgauge[extra]'"
    )


def test_a_suggestion_is_the_nearest_word_or_all():
    assert suggestion("atack", ["attack", "client"]) == "did you mean 'attack'?"
    assert suggestion("zzz", ["b", "a"]) == "known: a, b"
    assert suggestion("zzz", []) == "known: none"


@pytest.mark.parametrize("size", [1e-36, 1e-20, 1e-12, 1.0, 1e9, 1e20, 1e36])
def test_a_cosine_does_not_depend_on_the_size(size):
    a, b = torch.randn(2, 300, generator=stream(0, "a"), dtype=torch.float64).unbind()
    b = a + b
    oracle = float(a @ b / a.norm() / b.norm())
    one, other = {"w": (a * size).float().requires_grad_()}, {"w": (b * size).float()}
    found = tree.cosine(one, other)
    found.backward()
    assert float(found.detach()) == pytest.approx(oracle, rel=1e-5)
    assert float(tree.cosine({"w": one["w"].detach() * 0}, other)) == 0


@pytest.mark.parametrize("size", [1e-12, 1e9])
def test_the_slope_of_a_cosine_is_that_at_another_size(size):
    a, b = torch.randn(2, 300, generator=stream(0, "a")).unbind()
    slopes = []
    for scale in (1.0, size):
        one = (a * scale).requires_grad_()
        tree.cosine({"w": one}, {"w": b * scale}).backward()
        slopes.append(one.grad * scale)
    assert torch.allclose(*slopes, rtol=1e-4, atol=1e-8)
