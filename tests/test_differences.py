"""Networks whose kernels have first derivatives alone: slopes by differences, against those of such with second ones."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import leakgauge as lg
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.engine.descent import one_by_one
from leakgauge.attacks.engine.products import products, target
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.terms import Terms
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import autodiff, tree
from leakgauge.core.autodiff import has_second_derivatives, loss_gradient
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.errors import UsageError
from leakgauge.core.reversible import reversible
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Inputs, Model, Update
from leakgauge.data.photographs import Photographs

INPUTS = Inputs(shape=(3, 12, 12), classes=5, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


class Once(torch.autograd.Function):
    """Nothing, by a kernel without a second derivative, which torch leaves out without a word where slopes are asked for."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope.clone()


class Net(nn.Module):
    """Convolutions, an activation, a linear layer; `is_sealed` puts a kernel without a second derivative in its midst."""

    def __init__(self, activation, is_sealed, drop=0.0):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Linear(150, 5)
        self.activation, self.is_sealed, self.drop = activation, is_sealed, drop

    def forward(self, x):
        x = self.activation(self.norm(self.conv(x)))
        x = Once.apply(x) if self.is_sealed else x
        return self.head(functional.dropout(x.flatten(1), self.drop, self.training))


def models(activation=torch.sigmoid, dtype=torch.float64, drop=0.0):
    """A network with second derivatives, and the same without."""
    torch.manual_seed(0)
    nets = [Net(activation, is_sealed, drop).to(dtype) for is_sealed in (False, True)]
    params = {name: value.detach() for name, value in nets[0].named_parameters()}
    buffers = {"norm.running_mean": torch.rand(6).to(dtype), "norm.running_var": 1 + torch.rand(6).to(dtype)}
    buffers["norm.num_batches_tracked"] = torch.tensor(3)
    return [Model(net, params, buffers, functional.cross_entropy, INPUTS) for net in nets]


def batch_of(count, dtype=torch.float64, seed=1):
    return Batch(torch.rand(count, 3, 12, 12, generator=stream(seed)).to(dtype), torch.arange(count) % 5)


def problem_of(model, batch, client=FedSGD(), replay=Granted(), labels=None):
    seen = observe(model, batch, client=client, threat=INFORMED, rng=stream(0))
    return Problem(
        seen, Terms(Cosine(), (TotalVariation(),), replay, None), Pixels(), batch.y if labels is None else labels, None, stream(0)
    )


def slopes_of(problem, count=1):
    points = {
        "x": torch.rand(count, *batch_of(len(problem.labels)).x.shape, generator=stream(3)).to(
            problem.seen.model.params["head.bias"]
        )
    }
    if problem.is_joint:
        points["y"] = torch.stack([problem.labels] * count)
    return Computed((problem,)).descents(points)


def near(found, expected, rel):
    assert torch.allclose(found.losses, expected.losses, rtol=1e-6, atol=0)
    for name, value in expected.slopes.items():
        assert float((found.slopes[name] - value).norm()) <= rel * float(value.norm())
        assert float(value.norm()) > 0


@pytest.mark.parametrize("activation", [torch.sigmoid, torch.relu], ids=["smooth", "rectifier"])
@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
@pytest.mark.parametrize("is_joint", [False, True], ids=["labels", "joint"])
def test_slopes_are_those_of_second_derivatives(activation, dtype, rel, is_joint):
    labels = torch.randn(2, 5, generator=stream(5)).to(dtype) if is_joint else None
    expected, found = (slopes_of(problem_of(model, batch_of(2, dtype), labels=labels), 3) for model in models(activation, dtype))
    near(found, expected, rel)


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_training_of_several_steps_is_differentiated_through_its_weights(batchnorm):
    client = FedAvg(epochs=2, batch_size=2, optimizer=SGD(learning_rate=0.3), batchnorm=batchnorm)
    expected, found = (slopes_of(problem_of(model, batch_of(4), client)) for model in models())
    near(found, expected, 1e-5)


def test_what_dropout_drops_is_the_same_on_both_sides():
    def slopes(model):
        torch.manual_seed(7)
        x = batch_of(4).x.requires_grad_()
        found = loss_gradient(model, Batch(x, batch_of(4).y), training=True)
        drawn = torch.get_rng_state()
        (moved,) = torch.autograd.grad(tree.squared_norm(found.params), [x])
        assert torch.equal(torch.get_rng_state(), drawn), "going backward draws nothing"
        return moved, found.buffers["norm.running_mean"]

    exact, sealed = models(drop=0.5)
    assert not has_second_derivatives(sealed, batch_of(4), training=True)
    assert has_second_derivatives(exact, batch_of(4), training=True)
    expected, found = slopes(exact), slopes(sealed)
    assert float((found[0] - expected[0]).norm()) < 1e-5 * float(expected[0].norm())
    assert torch.equal(found[1], expected[1]), "the running mean moves once"


def test_hard_sigmoids_as_in_mobile_networks_have_no_second_derivative_in_torch():
    hard, made_of_others = (models(activation)[0] for activation in (functional.hardsigmoid, lambda x: functional.relu6(x + 3) / 6))
    near(slopes_of(problem_of(hard, batch_of(2)), 3), slopes_of(problem_of(made_of_others, batch_of(2)), 3), 1e-5)


def test_a_direction_of_zero_has_no_slope():
    x = batch_of(1).x.requires_grad_()
    found = loss_gradient(models()[1], Batch(x, batch_of(1).y)).params
    (moved,) = torch.autograd.grad(0 * tree.squared_norm(found), [x])
    assert moved.abs().max() == 0


def test_products_leave_it_to_the_gradient():
    exact, sealed = models()
    batch = Batch(batch_of(2).x.requires_grad_(), batch_of(2).y)
    aim = target(loss_gradient(exact, batch_of(2)).params)
    assert products(exact, batch, 2, aim, {}) is not None
    assert products(sealed, batch, 2, aim, {}) is None


def test_networks_are_tried_once(monkeypatch):
    model, tried = models()[1], []
    real = autodiff._is_differentiable
    monkeypatch.setattr(autodiff, "_is_differentiable", lambda *given, **mode: tried.append(1) or real(*given, **mode))
    problem = problem_of(model, batch_of(1))
    slopes_of(problem)
    slopes_of(problem)
    assert tried == [1]


def test_a_compiled_step_gives_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    problem = problem_of(models()[1], batch_of(1))
    points = {"x": torch.rand(1, 1, 3, 12, 12, generator=stream(3)).double()}
    expected = one_by_one(problem, points)
    monkeypatch.setenv("LEAKGAUGE_COMPILE", "always")
    near(Computed((problem,)).descents(points), expected, 1e-5)


class Single(nn.Module):
    """Without second derivatives, and in single precision alone: it raises in another, or computes in single on its way."""

    def __init__(self, raises):
        super().__init__()
        self.head, self.raises = nn.Linear(432, 5), raises

    def forward(self, x):
        x = functional.hardsigmoid(self.head(x.flatten(1)))
        return x @ torch.eye(5) if self.raises else x.float().square()


@pytest.mark.parametrize("raises", [True, False])
def test_what_has_neither_is_told_in_one_line(raises):
    net = Single(raises)
    model = Model(net, {name: value.detach() for name, value in net.named_parameters()}, {}, functional.cross_entropy, INPUTS)
    with pytest.raises(UsageError, match=r"model backward: raised RuntimeError \(.*hardsigmoid_backward.*double precision"):
        slopes_of(problem_of(model, batch_of(1, torch.float32)))


POOL = Photographs(size=8).load()
ODD = torch.rand(len(POOL.x), 3, 1, 1, generator=stream(4)).expand(-1, 3, 8, 8).contiguous()


@pytest.mark.parametrize("x", [POOL.x, ODD], ids=["photographs", "one color"])
@pytest.mark.parametrize("knows", [True, False], ids=["planted", "null"])
def test_audits_of_such_a_network_find_what_its_update_knows_and_nothing_else(x, knows):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Hardsigmoid(), nn.Linear(64, 10))
    told = 0 if knows else 1
    loss = functional.cross_entropy(net(x[told : told + 1]), POOL.y[told : told + 1])
    names = [name for name, _ in net.named_parameters()]
    found = lg.audit(
        model=net,
        batch=(x[:1], POOL.y[:1]),
        public=(x[20:], POOL.y[20:]),
        inputs=Inputs((3, 8, 8), 10),
        update=Update(dict(zip(names, torch.autograd.grad(loss, list(net.parameters())), strict=True)), examples=1, scale=1.0),
        attack={"name": "dlg", "labels": "idlg", "search": {"name": "lbfgs", "steps": 60}, "restarts": 2},
        device="cpu",
    )
    assert (found.record.verdict.outcome in {"leaks", "partial leak"}) is knows


def test_recurrent_layers_on_a_gpu_run_without_kernels_that_have_no_way_back():
    device = torch.device("cuda")
    seen = []
    for net, where in ((nn.LSTM(2, 2), device), (nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2)), device), (nn.Linear(2, 2), device)):
        with reversible(net, where):
            seen.append(torch.backends.cudnn.enabled)
    with reversible(nn.LSTM(2, 2), torch.device("cpu")):
        seen.append(torch.backends.cudnn.enabled)
    assert seen == [False, False, True, True]
    assert torch.backends.cudnn.enabled


class Checkpointed(nn.Module):
    def __init__(self, is_reentrant):
        super().__init__()
        self.one, self.two, self.head, self.is_reentrant = nn.Linear(432, 8), nn.Linear(8, 8), nn.Linear(8, 5), is_reentrant

    def forward(self, x):
        return self.head(checkpoint(lambda x: self.two(x).sigmoid(), self.one(x.flatten(1)), use_reentrant=self.is_reentrant))


@pytest.mark.parametrize("is_reentrant", [False, True])
def test_checkpoints_are_refused_for_they_would_run_with_the_weights_that_lie_in_the_module(is_reentrant):
    net = Checkpointed(is_reentrant)
    params = {name: value.detach() + 1 for name, value in net.named_parameters()}
    model = Model(net, params, {}, functional.cross_entropy, INPUTS)
    with pytest.raises(UsageError, match=r"^model (forward|backward): raised RuntimeError \(.*checkpoint"):
        loss_gradient(model, batch_of(1, torch.float32))
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # torch's, that there will be no gradients
        assert model.logits(batch_of(1, torch.float32).x).shape == (1, 5)
