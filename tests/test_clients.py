"""Clients against torch.optim and finite differences."""

import copy
from dataclasses import replace

import pytest
import torch
from table import FLAT

from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.gradients import MeanGradient
from leakgauge.clients.optimizers.adam import Adam, adamw
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.differentiation import is_replayed
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs
from leakgauge.testing import sample
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

OPTIMIZERS = {
    "plain": (SGD(learning_rate=0.2), lambda p: torch.optim.SGD(p, lr=0.2)),
    "decayed": (SGD(learning_rate=0.2, weight_decay=0.1), lambda p: torch.optim.SGD(p, lr=0.2, weight_decay=0.1)),
    "momentum": (SGD(momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "dampened": (
        SGD(momentum=0.8, dampening=0.3, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.1),
    ),
    "nesterov": (
        SGD(momentum=0.9, nesterov=True, weight_decay=0.05),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    ),
    "adam": (Adam(learning_rate=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam decayed": (
        Adam(beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    ),
    "adamw": (adamw(learning_rate=0.02), lambda p: torch.optim.AdamW(p, lr=0.02)),
    "adamw decayed": (adamw(weight_decay=0.3), lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.3)),
}
# No layer of these has a gradient that is 0 but for rounding, which Adam would blow up to its rate.
VICTIMS = {"resnet": ResNet(blocks=(1,), widths=(4,)), "lenet": LeNet(channels=2)}

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
every_victim = pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
every_mode = pytest.mark.parametrize("mode", ["eval", "train"])


def exact(victim, examples=5, **options):
    """A model and a batch in double precision, so that only errors of thought show."""
    case = sample(victim, examples=examples, **options)
    model = replace(case.model, params=double(case.model.params), buffers=double(case.model.buffers))
    return model, Batch(case.batch.x.double(), case.batch.y)


def double(values):
    return {name: value.double() if value.is_floating_point() else value for name, value in values.items()}


def network(model, mode):
    """The model as an ordinary module."""
    net = copy.deepcopy(model.net).to_empty(device="cpu").double()
    net.load_state_dict({**model.params, **model.buffers})
    return net.train(mode == "train")


def trained_by_hand(model, batch, mode, make, parts):
    net = network(model, mode)
    optimizer = make(net.parameters())
    for rows_of_part in parts:
        optimizer.zero_grad()
        x = (batch.x[rows_of_part] - 0.5) / 0.25 if model.inputs.std == (0.25,) else batch.x[rows_of_part]
        torch.nn.functional.cross_entropy(net(x), batch.y[rows_of_part]).backward()
        optimizer.step()
    return dict(net.state_dict())


def assert_update(update, model, after):
    assert update.delta.keys() == model.params.keys()
    for name, value in update.delta.items():
        torch.testing.assert_close(value, model.params[name] - after[name], rtol=1e-9, atol=1e-10)
    assert update.buffers.keys() == model.buffers.keys()
    for name, value in update.buffers.items():
        torch.testing.assert_close(value, after[name], rtol=1e-9, atol=1e-10)


@every_optimizer
@every_victim
@every_mode
def test_fedavg_is_what_torch_does_in_mini_batches(name, victim, mode):
    mine, theirs = OPTIMIZERS[name]
    model, batch = exact(victim)
    update = FedAvg(epochs=3, batch_size=2, optimizer=mine, batchnorm=mode)(model, batch)
    after = trained_by_hand(model, batch, mode, theirs, 3 * [[0, 1], [2, 3], [4]])
    assert_update(update, model, after)
    assert update.examples == 5
    assert update.scale == (pytest.approx(9 * 0.2) if name == "plain" else None)


@every_optimizer
def test_fedavg_is_what_torch_does_with_the_whole_batch(name):
    mine, theirs = OPTIMIZERS[name]
    model, batch = exact(VICTIMS["resnet"])
    update = FedAvg(epochs=2, optimizer=mine, batchnorm="train")(model, batch)
    assert_update(update, model, trained_by_hand(model, batch, "train", theirs, 2 * [list(range(5))]))


def test_fedavg_draws_a_new_order_for_each_epoch():
    mine, theirs = OPTIMIZERS["momentum"]
    model, batch = exact(VICTIMS["lenet"])
    rng = stream(7, "client")
    parts = [part for _ in range(2) for part in torch.randperm(5, generator=rng).split(2)]
    update = FedAvg(epochs=2, batch_size=2, optimizer=mine)(model, batch, rng=stream(7, "client"))
    assert_update(update, model, trained_by_hand(model, batch, "eval", theirs, parts))
    in_order = FedAvg(epochs=2, batch_size=2, optimizer=mine)(model, batch)
    assert not torch.allclose(tree.flatten(update.delta), tree.flatten(in_order.delta), rtol=1e-6)


@every_victim
@every_mode
def test_fedsgd_is_what_backward_gives(victim, mode):
    model, batch = exact(victim)
    net = network(model, mode)
    x = model.inputs.normalize(batch.x)
    torch.nn.functional.cross_entropy(net(x), batch.y).backward()
    update = FedSGD(batchnorm=mode)(model, batch)
    assert (update.examples, update.scale) == (5, 1.0)
    for name, value in net.named_parameters():
        torch.testing.assert_close(update.delta[name], value.grad, rtol=1e-9, atol=1e-10)
    for name, value in net.named_buffers():
        torch.testing.assert_close(update.buffers[name], value)
    moved = any(not torch.equal(update.buffers[name], value) for name, value in model.buffers.items())
    assert moved == (mode == "train" and bool(model.buffers))


@every_mode
def test_one_plain_step_is_the_gradient_times_the_scale(mode):
    model, batch = exact(VICTIMS["resnet"])
    step = FedAvg(optimizer=SGD(learning_rate=0.05), batchnorm=mode)(model, batch)
    gradient = FedSGD(batchnorm=mode)(model, batch)
    assert step.scale == 0.05
    for name, value in gradient.delta.items():
        torch.testing.assert_close(step.delta[name], 0.05 * value, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "plain"),
    [(SGD(), True), (SGD(momentum=0.1), False), (SGD(weight_decay=0.1), False), (Adam(), False), (adamw(), False)],
)
def test_a_scale_is_claimed_where_there_is_one(optimizer, plain):
    model, batch = exact(VICTIMS["lenet"], examples=2)
    assert (FedAvg(epochs=3, batch_size=1, optimizer=optimizer)(model, batch).scale is not None) == plain


TINY = {"inputs": Inputs((1, 2, 2), 3, mean=(0.3,), std=(0.5,))}


@every_optimizer
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_the_unrolled_gradient_agrees_with_finite_differences(name, soft):
    model, batch = exact(MLP(hidden=(4,), activation="tanh", normalize=True), examples=3, **TINY)
    client = FedAvg(epochs=2, batch_size=2, optimizer=OPTIMIZERS[name][0])
    weights = torch.randn(sum(value.numel() for value in model.params.values()), generator=stream(1)).double()

    def sent(x, y):
        return (weights * tree.flatten(client(model, Batch(x, y)).delta)).sum()

    x = batch.x.requires_grad_()
    y = torch.rand(3, 3, generator=stream(2)).double().softmax(1).requires_grad_() if soft else batch.y
    assert torch.autograd.gradcheck(sent, (x, y), eps=1e-6, atol=1e-7, rtol=1e-4)


def test_the_gradient_through_batch_statistics_agrees_with_finite_differences():
    model, batch = exact(ResNet(blocks=(1,), widths=(2,)), examples=3, inputs=Inputs((1, 4, 4), 3))
    client = FedAvg(epochs=2, optimizer=SGD(learning_rate=0.1, momentum=0.9), batchnorm="train")

    def sent(x):
        return tree.squared_norm(client(model, Batch(x, batch.y)).delta)

    assert torch.autograd.gradcheck(sent, (batch.x.requires_grad_(),), eps=1e-7, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("optimizer", [Adam(learning_rate=0.1), adamw(weight_decay=0.0), SGD(momentum=0.9)], ids=repr)
def test_a_parameter_without_gradient_leaves_the_replay_finite(optimizer):
    model, batch = exact(FLAT, examples=2, **TINY)
    dead = {name: value - 100 if name == "1.bias" else value for name, value in model.params.items()}  # every ReLU is off
    x = batch.x.requires_grad_()
    update = FedAvg(epochs=3, optimizer=optimizer)(replace(model, params=dead), Batch(x, batch.y))
    (slope,) = torch.autograd.grad(tree.squared_norm(update.delta), x)
    assert not slope.isnan().any()
    assert not update.delta["1.weight"].any()


@pytest.mark.parametrize("client", [FedSGD(), FedAvg(epochs=2, optimizer=Adam())], ids=repr)
def test_an_update_hangs_on_a_graph_only_where_the_batch_does(client):
    model, batch = exact(VICTIMS["lenet"], examples=2)
    assert not any(value.requires_grad for value in client(model, batch).delta.values())
    soft = torch.nn.functional.one_hot(batch.y, 4).double().requires_grad_()
    for replayed in (Batch(batch.x.clone().requires_grad_(), batch.y), Batch(batch.x, soft)):
        assert all(value.requires_grad for value in client(model, replayed).delta.values())
        with torch.no_grad():
            assert not is_replayed(replayed)
            assert not any(value.requires_grad for value in client(model, replayed).delta.values())


def test_soft_labels_at_the_corners_are_hard_labels():
    model, batch = exact(VICTIMS["lenet"])
    soft = Batch(batch.x, torch.nn.functional.one_hot(batch.y, 4).double())
    for name, value in loss_gradient(model, soft).params.items():
        torch.testing.assert_close(value, loss_gradient(model, batch).params[name])


def test_the_gradient_rule_can_be_exchanged():
    class Doubled:
        def __call__(self, model, batch, /, *, training, rng):
            gradient = MeanGradient()(model, batch, training=training, rng=rng)
            return gradient._replace(params=tree.apply(lambda value: 2 * value, gradient.params))

    model, batch = exact(VICTIMS["lenet"])
    for client, half in ((FedSGD(), FedSGD()), (FedAvg(), FedAvg(optimizer=SGD(learning_rate=0.2)))):
        doubled = client.with_gradient(Doubled())(model, batch).delta
        expected = half(model, batch).delta
        for name, value in expected.items():
            factor = 2 if isinstance(client, FedSGD) else 1
            torch.testing.assert_close(doubled[name], factor * value)


@pytest.mark.parametrize("settings", [{"momentum": 0.0}, {"momentum": 0.9, "dampening": 0.1}])
def test_nesterov_needs_momentum_without_dampening(settings):
    with pytest.raises(UsageError, match=r"^SGD\.nesterov: got momentum=.*; set momentum: 0\.9$"):
        SGD(nesterov=True, **settings)
