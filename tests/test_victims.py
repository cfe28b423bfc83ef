import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from leakgauge.core import anatomy
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.errors import UsageError
from leakgauge.core.registry import entries
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.initialization import initialize
from leakgauge.victims.key_locked import KeyLocked
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.precode import Precode
from leakgauge.victims.resnet import ResNet, resnet18, resnet20
from leakgauge.victims.vgg import VGG, vgg11
from leakgauge.victims.vit import ViT

IMAGES = Inputs((3, 12, 16), 5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
CIFAR = Inputs((3, 32, 32), 10)
VICTIMS = {
    "mlp": MLP(hidden=(16, 8)),
    "linear": MLP(hidden=()),
    "mlp sigmoid": MLP(hidden=(8,), activation="sigmoid"),
    "lenet": LeNet(),
    "cnn": CNN(width=4, hidden=8),
    "convnet": ConvNet(width=4),
    "precode": Precode(victim=LeNet(), latent=8),
    "key_locked": KeyLocked(victim=CNN(width=4, hidden=8), layers=("all",), length=8),
    "resnet": ResNet(blocks=(1, 2), widths=(4, 8)),
    "resnet18": resnet18(width=4),
    "resnet20": resnet20(width=4),
    "vgg": VGG(blocks=(1, 2), widths=(4, 8), batchnorm=True),
    "vgg11": vgg11(width=2),
    "vit": ViT(dim=16, depth=2, heads=2),
}
every_victim = pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)


def build(victim, inputs=IMAGES, seed=0):
    return victim.build(inputs, rng=stream(seed, "victim"))


def batch(inputs=IMAGES, count=3, seed=1):
    rng = stream(seed, "batch")
    return Batch(torch.rand(count, *inputs.shape, generator=rng), torch.randint(inputs.classes, (count,), generator=rng))


def test_every_registered_victim_loads_and_is_tested():
    registered = set(entries("victim")) - {"checkpoint", "module"}  # files (see test_federation.py, test_own_models.py)
    for name in registered:
        entries("victim")[name].load()().build(CIFAR, rng=stream(0))
    assert registered <= set(VICTIMS)


@every_victim
def test_outputs_fit_the_inputs(victim):
    model = build(victim)
    examples = batch()
    assert model.logits(examples.x).shape == (3, 5)
    assert model.logits(examples.x).isfinite().all()
    assert anatomy.head(model).weight in model.params
    soft = torch.nn.functional.one_hot(examples.y, 5).float()
    outputs = model.logits(examples.x)
    torch.testing.assert_close(model.loss(outputs, soft), model.loss(outputs, examples.y))


@every_victim
def test_gray_images_of_another_size_fit_too(victim):
    inputs = Inputs((1, 28, 28), 2)
    assert build(victim, inputs).logits(batch(inputs).x).shape == (3, 2)


@every_victim
def test_weights_come_from_the_generator_alone(victim):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build(victim)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    again, other = build(victim), build(victim, seed=1)
    assert list(first.params) == list(again.params)
    assert all(torch.equal(first.params[name], again.params[name]) for name in first.params)
    assert any(not torch.equal(first.params[name], other.params[name]) for name in first.params)


@every_victim
def test_names_are_those_of_the_network(victim):
    model = build(victim)
    assert list(model.params) == [name for name, _ in model.net.named_parameters()]
    assert list(model.buffers) == [name for name, _ in model.net.named_buffers()]
    assert not any(value.requires_grad or value.is_meta for value in (*model.params.values(), *model.buffers.values()))


@every_victim
def test_buffers_start_where_batchnorm_starts(victim):
    for name, value in build(victim).buffers.items():
        if name.endswith(".noise"):
            assert not value.any()
            continue
        layer = nn.BatchNorm2d(1)
        start = dict(layer.named_buffers())[name.rpartition(".")[2]]
        assert value.dtype == start.dtype
        assert (value == start).all()


@every_victim
def test_the_matching_loss_has_a_gradient(victim):
    model = build(victim)
    examples = batch()
    x = examples.x.clone().requires_grad_()
    delta = loss_gradient(model, Batch(x, examples.y)).params
    norm = sum(value.square().sum() for value in delta.values())
    (gradient,) = torch.autograd.grad(norm, x)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize(
    "victim", [MLP(hidden=(6,), activation="softplus"), ViT(patch=2, dim=4, depth=1, heads=2)], ids=["mlp", "vit"]
)
def test_double_backward_agrees_with_finite_differences(victim):
    inputs = Inputs((1, 4, 4), 2)
    model = build(victim, inputs)
    params = {name: value.double().requires_grad_() for name, value in model.params.items()}
    examples = batch(inputs, count=1)

    def norm(x):
        loss = model.loss(model.forward(params, {}, x, training=False), examples.y)
        return sum(value.square().sum() for value in torch.autograd.grad(loss, list(params.values()), create_graph=True))

    assert torch.autograd.gradcheck(norm, (examples.x.double().requires_grad_(),))


@every_victim
def test_the_network_may_hold_real_weights_instead(victim):
    model = build(victim)
    real = model.net.to_empty(device="cpu")
    with torch.no_grad():
        for value in real.parameters():
            value.fill_(torch.nan)
    outputs = functional_call(real.eval(), {**model.params, **model.buffers}, (model.inputs.normalize(batch().x),))
    assert torch.equal(outputs, build(victim).logits(batch().x))


@pytest.mark.parametrize(
    ("make", "shape"),
    [(lambda: nn.Linear(50, 400), (8, 50)), (lambda: nn.Conv2d(8, 64, 3), (8, 5, 5)), (lambda: nn.BatchNorm2d(8), (8, 5, 5))],
    ids=["linear", "conv", "batchnorm"],
)
def test_the_distribution_is_that_of_torch(make, shape):
    torch.manual_seed(0)
    reference = make()
    with torch.device("meta"):
        net = make()
    model = initialize(net, Inputs(shape, 1), normalize=False, rng=stream(0))
    for name, value in reference.named_parameters():
        drawn, expected = model.params[name].flatten(), value.detach().flatten()
        assert drawn.dtype == expected.dtype
        quantiles = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
        spread = 4 * float(expected.abs().max()) / math.sqrt(len(drawn))
        torch.testing.assert_close(drawn.quantile(quantiles), expected.quantile(quantiles), rtol=0, atol=spread)
        assert drawn.abs().max() <= expected.abs().max() * 1.3


def test_lenet_is_the_one_of_dlg():
    model = build(LeNet(), CIFAR)
    assert [tuple(value.shape) for value in model.params.values()] == [
        (12, 3, 5, 5),
        (12,),
        (12, 12, 5, 5),
        (12,),
        (12, 12, 5, 5),
        (12,),
        (10, 768),
        (10,),
    ]
    for value in model.params.values():
        assert value.abs().max() <= 0.5
        assert value.abs().max() > 0.3
    assert build(LeNet(), Inputs((1, 28, 28), 10)).params["7.weight"].shape == (10, 588)


@pytest.mark.parametrize(
    ("victim", "parameters"),
    [(resnet18(), 11_173_962), (resnet20(), 272_474), (ConvNet(), 2_904_970), (vgg11(), 9_225_610)],
    ids=["resnet18", "resnet20", "convnet", "vgg11"],
)
def test_sizes_are_those_of_the_literature(victim, parameters):
    assert sum(value.numel() for value in build(victim, CIFAR).params.values()) == parameters


@every_victim
def test_normalization_is_on_where_the_papers_have_it(victim):
    inputs = build(victim).inputs
    if isinstance(victim, MLP | LeNet | Precode):
        assert (inputs.mean, inputs.std) == ((0.0,), (1.0,))
    else:
        assert inputs == IMAGES


def test_normalization_can_be_chosen():
    assert build(LeNet(normalize=True)).inputs == IMAGES
    assert build(resnet20(width=4, normalize=False)).inputs.mean == (0.0,)


def test_an_mlp_takes_inputs_of_any_shape():
    assert build(MLP(), Inputs((7,), 3)).logits(torch.rand(2, 7)).shape == (2, 3)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: build(CNN(), Inputs((3, 3, 32), 10)), "CNN got images of 3x32, expected at least 4x4"),
        (lambda: build(ConvNet(), Inputs((3, 8, 32), 10)), "ConvNet got images of 8x32, expected at least 9x9"),
        (lambda: build(ViT(patch=5), CIFAR), "ViT.patch: got 5 for images of 32x32, expected a divisor of 32"),
        (lambda: build(ConvNet(), Inputs((7,), 3)), r"ConvNet got inputs of shape \(7,\), expected \(channels, height, width\)"),
        (lambda: ViT(dim=10, heads=4), "ViT.heads: got 4, expected a divisor of dim"),
        (lambda: ResNet(blocks=(1, 1), widths=(4,)), "ResNet.blocks"),
        (lambda: ResNet(blocks=(), widths=()), "ResNet.blocks"),
        (lambda: ResNet(blocks=(0,), widths=(4,)), "ResNet.blocks"),
        (lambda: VGG(blocks=(1, 1), widths=(4,)), "VGG.blocks"),
        (lambda: MLP(hidden=(4, 0)), "MLP.hidden"),
        (lambda: MLP(activation="rleu"), "MLP.activation: got 'rleu'"),
        (lambda: ConvNet(width=0), "ConvNet.width"),
    ],
)
def test_misuse_is_told_in_one_line(attempt, message):
    with pytest.raises(UsageError, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)
