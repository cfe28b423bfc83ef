"""Soteria against scores that are written out, and the attacks that step around it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.masked import Masked
from leakgauge.attacks.likelihoods.without import Without
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import protect
from leakgauge.core.types import Batch, Inputs, Model
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.defenses.soteria import Soteria, sensitivity
from leakgauge.testing import sample
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.vit import ViT

INPUTS = Inputs((2, 5, 6), 3, mean=(0.4, 0.5), std=(0.5, 0.2))
BODY = [nn.Conv2d(2, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 2, 2), nn.ReLU(), nn.Flatten()]  # 12 features
HEAD = "5"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=stream(seed))


@pytest.fixture
def model():
    net = nn.Sequential(*BODY, nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
    params = {name: 0.7 * draw(*value.shape, seed=1 + place) for place, (name, value) in enumerate(net.named_parameters())}
    return Model(net, params, {}, cross_entropy, INPUTS)


@pytest.fixture
def batch():
    return Batch(torch.rand(4, 2, 5, 6, generator=stream(9)), torch.tensor([0, 1, 2, 1]))


def naive_features(model, x):
    p = model.params
    x = (x - torch.tensor([0.4, 0.5]).reshape(1, 2, 1, 1)) / torch.tensor([0.5, 0.2]).reshape(1, 2, 1, 1)
    x = nn.functional.conv2d(x, p["0.weight"], p["0.bias"]).sigmoid()
    return nn.functional.conv2d(x, p["2.weight"], p["2.bias"]).relu().flatten(1)


def naive_scores(model, x):
    """One entry of one image at a time."""
    scores = np.zeros((len(x), 12))
    for row in range(len(x)):
        for entry in range(12):
            image = x[row : row + 1].clone().requires_grad_()
            value = naive_features(model, image)[0, entry]
            (slope,) = torch.autograd.grad(value, image)
            scores[row, entry] = float(slope.flatten().norm()) / (abs(float(value.detach())) + 0.1)
    return scores.mean(0)


def test_scores_are_those_of_an_explicit_jacobian(model, batch):
    found = sensitivity(model, HEAD, batch.x)
    expected = naive_scores(model, batch.x)
    assert (expected > 0).sum() > 0
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert not found.requires_grad


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8])
def test_columns_below_the_percentile_are_zero_and_all_else_is_sent(model, batch, share):
    plain = FedSGD()(model, batch).delta
    sent = Soteria(share=share).protect(FedSGD())(model, batch).delta
    scores = naive_scores(model, batch.x)
    kept = scores >= np.percentile(scores, 100 * share) * (1 - 1e-6)
    assert kept.sum() <= 12 - np.floor(share * 11) or share == 0.0
    for column in range(12):
        expected = plain["5.weight"][:, column] if kept[column] else torch.zeros(4)
        torch.testing.assert_close(sent["5.weight"][:, column], expected)
    for name in plain.keys() - {"5.weight"}:
        assert torch.equal(sent[name], plain[name])


def test_the_mask_of_local_training_is_that_of_the_received_weights(model, batch):
    client = FedAvg(epochs=3, batch_size=2, optimizer=SGD(learning_rate=0.5))
    sent = Soteria(share=0.5).protect(client)(model, batch)
    mask = Soteria(share=0.5).kept(model, batch.x)
    assert 0 < int(mask.sum()) < 12
    plain = client(model, batch)
    torch.testing.assert_close(sent.delta["5.weight"], plain.delta["5.weight"] * mask)
    assert sent.scale == plain.scale


def test_a_replay_differentiates_through_what_is_kept_alone(model, batch):
    x = batch.x.clone().requires_grad_()
    sent = Soteria(share=0.5).protect(FedSGD())(model, Batch(x, batch.y)).delta["5.weight"]
    mask = Soteria(share=0.5).kept(model, batch.x)
    weights = draw(4, 12, seed=5)
    plain = FedSGD()(model, Batch(x, batch.y)).delta["5.weight"]
    (found,) = torch.autograd.grad((sent * weights).sum(), x, retain_graph=True)
    (expected,) = torch.autograd.grad((plain * weights * mask).sum(), x)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(found, expected)


def test_the_layer_may_be_named(model, batch):
    plain = FedSGD()(model, batch).delta
    sent = Soteria(share=0.5, layer="7").protect(FedSGD())(model, batch).delta
    assert torch.equal(sent["5.weight"], plain["5.weight"])
    assert int((sent["7.weight"] == 0).all(0).sum()) >= 2


@pytest.mark.parametrize(
    ("victim", "name"), [(LeNet(), "7"), (ConvNet(width=4), "27"), (MLP(hidden=(8, 6)), "3")], ids=["lenet", "convnet", "mlp"]
)
def test_the_layer_is_the_first_behind_the_convolutions_else_the_second(victim, name):
    assert Soteria().defended(victim.build(Inputs((3, 16, 16), 10), rng=stream(0))) == name


@pytest.mark.parametrize(
    ("victim", "layer", "message"),
    [
        (MLP(hidden=()), None, "expected a linear layer behind another"),
        (LeNet(channels=2), "6", "'6' is no linear layer of the model, known: 7"),
        (ViT(dim=8, depth=1, heads=2), None, "'blocks.0.attention.qkv' sees .* expected one vector"),
    ],
)
def test_a_model_without_such_a_layer_is_refused_in_one_line(victim, layer, message):
    case = sample(victim)
    with pytest.raises(UsageError, match=message) as caught:
        Soteria(layer=layer).protect(FedSGD())(case.model, case.batch)
    assert "\n" not in str(caught.value)


def test_a_transformer_is_defended_at_its_head():
    case = sample(ViT(dim=8, depth=1, heads=2))
    sent = Soteria(share=0.5, layer="head").protect(FedSGD())(case.model, case.batch).delta
    assert int((sent["head.weight"] == 0).all(0).sum()) == 4


def test_a_layer_that_is_kept_back_needs_no_mask(model, batch):
    defended = protect(FedSGD(), [PartialSharing(share=("0.*",)), Soteria()])
    sent, plain = defended(model, batch).delta, FedSGD()(model, batch).delta
    assert sent.keys() == {"0.weight", "0.bias"}
    assert torch.equal(sent["0.weight"], plain["0.weight"])


# The attacks


def test_a_likelihood_without_tensors_is_that_of_the_rest():
    guess = {"a.weight": draw(3, 2), "a.bias": draw(3, seed=1), "b.weight": draw(4, seed=2)}
    seen = {name: draw(*value.shape, seed=7 + value.ndim) for name, value in guess.items()}
    rest = {name: seen[name] for name in ("a.bias", "b.weight")}
    for inner in (Gaussian(weight=2.0), Cosine()):
        assert torch.equal(Without(drop=("a.weight",), likelihood=inner)(guess, seen), inner(guess, rest))
        only = Without(drop=("a.*",), likelihood=inner)(guess, seen)
        assert torch.equal(only, inner(guess, {"b.weight": seen["b.weight"]}))


@pytest.mark.parametrize(
    ("drop", "message"),
    [(("fc*",), r"'fc\*' matches no parameter, expected a pattern for some of a, b"), (("a", "?"), "match every tensor")],
)
def test_a_pattern_that_drops_nothing_or_everything_is_told(drop, message):
    with pytest.raises(UsageError, match=message):
        Without(drop=drop)({}, {"a": draw(2), "b": draw(2)})
    with pytest.raises(UsageError, match="no pattern"):
        Without(drop=())


@pytest.mark.parametrize("aware", [Without(drop=("7.weight",)), Masked(likelihood=Cosine())], ids=["without", "masked"])
@pytest.mark.parametrize("layer", [None, "7"])
def test_the_truth_explains_what_the_defense_left_and_to_an_unaware_attack_it_does_not(aware, layer):
    case = sample(LeNet(channels=3), examples=2)
    seen = case.observe(FedSGD(), defenses=[Soteria(layer=layer)])
    attack = Matching(likelihood=aware, space=Pixels(), replay=OneGradient(), labels=Known(), search=Adam(steps=1))
    unaware = replace(attack, likelihood=Cosine())
    assert float(attack.loss_at(seen, case.batch)) == pytest.approx(0, abs=1e-6)
    assert float(unaware.loss_at(seen, case.batch)) > 1e-3


def test_nothing_is_changed_or_left_behind(model, batch):
    params = tree.detach(model.params)
    Soteria().protect(FedSGD())(model, batch)
    assert all(torch.equal(params[name], value) for name, value in model.params.items())
    assert not any(module._forward_pre_hooks for module in model.net.modules())
