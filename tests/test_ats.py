"""ATS: its transforms against Pillow, its policies, and its client."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from table import TABLE

from leakgauge.auditing.rounds import trained_on
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.abilities import Trains
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import protect
from leakgauge.core.types import Batch, Client, Inputs
from leakgauge.data.photographs import Photographs
from leakgauge.defenses import policies, policy_search, transforms
from leakgauge.defenses.ats import ATS
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.policies import LIBRARY
from leakgauge.testing import sample
from leakgauge.testing.sampling import SMALL_RESNET
from leakgauge.victims.mlp import MLP

# Transforms, against Pillow


def pillow_affine(how):
    def run(picture, amount):
        width, height = picture.size
        matrix, filter_ = {
            "shear_x": ((1, amount, 0, 0, 1, 0), Image.Resampling.BICUBIC),
            "shear_y": ((1, 0, 0, amount, 1, 0), Image.Resampling.BICUBIC),
            "translate_x": ((1, 0, amount * width, 0, 1, 0), Image.Resampling.NEAREST),
            "translate_y": ((1, 0, 0, 0, 1, amount * height), Image.Resampling.NEAREST),
        }[how]
        return picture.transform(picture.size, Image.Transform.AFFINE, matrix, filter_, fillcolor=0)

    return run


def pillow_rotate(picture, degrees):
    inside = Image.new("L", picture.size, 255).rotate(degrees)
    return Image.composite(picture.rotate(degrees), Image.new(picture.mode, picture.size, (128,) * len(picture.getbands())), inside)


PILLOW = {
    **{name: pillow_affine(name) for name in ("shear_x", "shear_y", "translate_x", "translate_y")},
    "rotate": pillow_rotate,
    "color": lambda picture, factor: ImageEnhance.Color(picture).enhance(factor),
    "contrast": lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor),
    "brightness": lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor),
    "sharpness": lambda picture, factor: ImageEnhance.Sharpness(picture).enhance(factor),
    "posterize": lambda picture, bits: ImageOps.posterize(picture, round(bits)),
    "solarize": lambda picture, threshold: ImageOps.solarize(picture, threshold),
    "invert": lambda picture, _: ImageOps.invert(picture),
    "autocontrast": lambda picture, _: ImageOps.autocontrast(picture),
    "equalize": lambda picture, _: ImageOps.equalize(picture),
}
AMOUNTS = {
    "shear_x": (-0.3, 0.1, 0.3),
    "shear_y": (-0.2, 1 / 15),
    "translate_x": (-0.45, 0.2, 150 / 331),
    "translate_y": (-0.1, 0.15),
    "rotate": (-30.0, 6.6667, 20.0),
    "color": (0.5, 1.3),
    "contrast": (0.6, 1.5),
    "brightness": (0.5, 1.5),
    "sharpness": (0.5, 0.9, 1.5),
    "posterize": (4, 5.8, 8),
    "solarize": (256, 142.2, 0),
    "invert": (0,),
    "autocontrast": (0,),
    "equalize": (0,),
}
UNCHANGED = {("posterize", 8), ("solarize", 256)}
EXACT = {"translate_x", "translate_y", "rotate", "posterize", "solarize", "invert", "equalize"}


def pictures(channels, size=(23, 32)):
    """Crops of photographs, a ramp that does not fill the range, and noise; in 8 bits."""
    height, width = size
    ramp = torch.linspace(0.2, 0.7, height * width).reshape(1, height, width).expand(3, -1, -1)
    x = torch.stack(
        [*Photographs(size=32).load().x[:2, :, :height, :width], ramp, torch.rand(3, height, width, generator=stream(0))]
    )
    return (x[:, :channels] * 255).round() / 255


def by_pillow(name, x, amount):
    done = []
    for image in (x * 255).round().to(torch.uint8).numpy():
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        values = np.asarray(PILLOW[name](picture, amount), dtype=np.float32) / 255
        done.append(torch.tensor(values if values.ndim == 3 else values[..., None]).permute(2, 0, 1))
    return torch.stack(done)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "amount"), [(name, amount) for name, amounts in AMOUNTS.items() for amount in amounts])
def test_a_transform_is_that_of_pillow(name, amount, channels):
    x = pictures(channels)
    found = getattr(transforms, name)(x, amount)
    expected = by_pillow(name, x, amount)
    worst = (found - expected).abs().max()
    assert worst < (1e-6 if name in EXACT else 1.2 / 255)
    assert (name, amount) in UNCHANGED or channels == 1 or not torch.allclose(found, x, atol=0.01)


@pytest.mark.parametrize("name", AMOUNTS)
def test_a_transform_can_be_differentiated_in_the_image(name):
    x = pictures(3).requires_grad_()
    weights = torch.randn(x.shape, generator=stream(1))
    amount = AMOUNTS[name][0]
    value = getattr(transforms, name)(x, amount)
    assert value.min() >= 0
    assert value.max() <= 1 + 1e-6
    (slope,) = torch.autograd.grad((value * weights).sum(), x)
    assert slope.isfinite().all()
    assert (slope.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_an_image_of_one_value_stays(name):
    x = torch.full((1, 3, 8, 8), 0.25)
    torch.testing.assert_close(getattr(transforms, name)(x, 0), x, rtol=0, atol=1 / 255)


# Policies


def test_the_library_is_the_one_of_the_paper():
    assert len(LIBRARY) == 50
    assert [LIBRARY[place] for place in (0, 3, 7, 42, 49)] == [
        ("invert", 7),
        ("translate_x", 9),
        ("translate_y", 2),
        ("translate_y", 3),
        ("autocontrast", 1),
    ]


def test_a_policy_is_its_transforms_in_a_row_at_the_amounts_of_their_levels():
    x = pictures(3)
    shifted = {way: transforms.translate_x(x, way * 150 / 331) for way in (-1, 1)}
    enhanced = {(a, b): transforms.contrast(image, 1 + b * 0.5 * 6 / 9) for a, image in shifted.items() for b in (-1, 1)}
    moved = {(*k, c): transforms.translate_y(i, c * 2 / 9 * 150 / 331) for k, i in enhanced.items() for c in (-1, 1)}
    ways = set()
    for seed in range(24):
        found = policies.apply("3-1-7", x, rng=stream(seed))
        for row, image in enumerate(found):
            (way,) = [way for way, expected in moved.items() if torch.equal(image, expected[row])] or [None]
            ways.add(way)
    assert ways == set(moved)  # every combination of directions, and nothing else


def test_each_image_gets_one_of_the_alternatives():
    x = pictures(3)[:1].expand(200, -1, -1, -1)
    found = policies.apply("0+9", x, rng=stream(0))
    inverted, equalized = transforms.invert(x[:1], 0), transforms.equalize(x[:1], 0)
    share = float(sum(torch.equal(image[None], inverted) for image in found)) / 200
    assert 0.4 < share < 0.6
    assert all(torch.equal(image[None], inverted) or torch.equal(image[None], equalized) for image in found)


def test_without_chance_images_are_at_the_mean():
    x = pictures(3)
    expected = (transforms.translate_x(x, 150 / 331) + transforms.translate_x(x, -150 / 331)) / 2
    torch.testing.assert_close(policies.apply("3", x, rng=None), expected)
    torch.testing.assert_close(policies.apply("0+9", x, rng=None), (1 - x + transforms.equalize(x, 0)) / 2)
    torch.testing.assert_close(policies.apply("12", x, rng=None), x, atol=0.08, rtol=0)  # color both ways, up to the clamp


@pytest.mark.parametrize("policy", ["", "3-", "50", "3-1-x", "-1", "3,1", "3-1+", "²"])
def test_a_policy_that_is_none_is_told_in_one_line(policy):
    with pytest.raises(UsageError, match="expected numbers from 0 to 49") as caught:
        ATS(policy=policy)
    assert "\n" not in str(caught.value)


# The client


@pytest.mark.parametrize("client", [FedSGD(), FedAvg(epochs=2, batch_size=2, optimizer=SGD(learning_rate=0.3))], ids=repr)
def test_the_client_trains_on_what_augment_gives(client):
    case = sample(SMALL_RESNET, examples=4, inputs=Inputs((3, 9, 8), 4))
    defense = ATS(policy="21-13-3+7-4-15")
    sent = defense.protect(client)(case.model, case.batch, rng=stream(5)).delta
    rng = stream(5)
    x = defense.augment(case.batch.x, rng=rng)
    assert not torch.allclose(x, case.batch.x, atol=0.05)
    expected = client(case.model, Batch(x, case.batch.y), rng=rng).delta
    assert all(torch.equal(sent[name], value) for name, value in expected.items())
    again = defense.augment(case.batch.x, rng=stream(5))  # whoever holds the client's rng knows what it trained on
    assert torch.equal(again, x)


@pytest.mark.parametrize("shape", [(7,), (2, 8, 8)])
def test_inputs_that_are_no_images_are_refused(shape):
    case = sample(MLP(hidden=(4,)), inputs=Inputs(shape, 3))
    with pytest.raises(UsageError, match="expected images of 1 or 3 channels"):
        ATS().protect(FedSGD())(case.model, case.batch)


# What a client trained on


@dataclass(frozen=True)
class Watched:
    """A client that keeps what it is handed, and draws while it trains."""

    handed: list[Batch]
    client: Client = FedAvg(epochs=2, batch_size=1)

    def __call__(self, model, batch, /, *, rng=None):
        self.handed.append(batch)
        return self.client(model, batch, rng=rng)

    def with_gradient(self, rule):
        return replace(self, client=self.client.with_gradient(rule))


@pytest.mark.parametrize("is_first", [True, False], ids=["inside", "outside"])
@pytest.mark.parametrize("row", [row for row in TABLE if row.family == "defense"], ids=str)
def test_every_defense_passes_on_what_the_client_inside_it_trained_on(row, is_first):
    """For the rng of the update, whatever else is drawn from it before and after."""
    case = sample(row.options.get("victim", SMALL_RESNET), examples=4)
    defenses = [ATS(policy="21-13-3+7-4-15"), row.algorithm] if is_first else [row.algorithm, ATS(policy="21-13-3+7-4-15")]
    handed: list[Batch] = []
    client = protect(Watched(handed), defenses)
    client(case.model, case.batch, rng=stream(5))
    expected = list(handed)
    assert isinstance(client, Trains)
    found = client.trained_on(case.model, case.batch, rng=stream(5))
    assert torch.equal(found.x, torch.cat([batch.x for batch in expected]))
    assert torch.equal(found.y, torch.cat([batch.y for batch in expected]))
    assert not torch.allclose(found.x, case.batch.x, atol=0.05)


def test_a_client_that_takes_its_batch_as_it_is_says_so():
    case = sample(SMALL_RESNET, examples=2)
    found = trained_on(case.model, case.batch, client=FedSGD(), seed=0)
    assert found is None
    assert trained_on(case.model, case.batch, client=FedSGD(), defenses=[Clipping(norm=1.0)], seed=0) is None


# The search


def naive_cosine(model, one, other):
    """Of the gradients of two batches, averaged over the tensors."""
    total = []
    for a, b in zip(*(naive_slopes(model, batch) for batch in (one, other)), strict=True):
        a, b = a.flatten().double().numpy(), b.flatten().double().numpy()
        total.append(a @ b / np.sqrt((a @ a) * (b @ b)))
    return np.mean(total)


def naive_slopes(model, batch):
    leaves = {name: value.clone().requires_grad_() for name, value in model.params.items()}
    loss = torch.nn.functional.cross_entropy(model.forward(leaves, model.buffers, batch.x, training=False), batch.y)
    return torch.autograd.grad(loss, list(leaves.values()))


def test_the_privacy_score_is_the_area_under_the_similarity():
    case = sample(SMALL_RESNET, examples=2)
    rng, areas = stream(3), []
    for row in range(2):
        image = case.batch[row : row + 1]
        noise = torch.rand(image.x.shape, generator=rng)
        ways = [Batch(share * image.x + (1 - share) * noise, image.y) for share in np.linspace(0, 1, 6)]
        heights = [naive_cosine(case.model, way, image) for way in ways]
        areas.append(sum((a + b) / 2 for a, b in itertools.pairwise(heights)) / 5)
    found = policy_search.privacy_score(case.model, case.batch, points=5, rng=stream(3))
    assert found == pytest.approx(np.mean(areas), rel=1e-4)
    assert 0 < found < 1


def test_the_accuracy_score_is_that_of_the_correlations_of_jacobians():
    case = sample(SMALL_RESNET, examples=6)
    x = case.batch.x.clone().requires_grad_()
    rows = [torch.autograd.grad(case.model.logits(x)[row].sum(), x)[0][row].flatten().numpy() for row in range(6)]
    values = np.linalg.eigvalsh(np.corrcoef(np.stack(rows).astype(np.float64)))
    expected = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    assert policy_search.accuracy_score(case.model, case.batch.x) == pytest.approx(expected, rel=1e-3)
    copies = case.batch.x[:1].expand(3, -1, -1, -1)
    assert policy_search.accuracy_score(case.model, copies) < -1e5


def test_the_search_keeps_the_most_private_policies_that_learn_well_enough():
    case = sample(SMALL_RESNET, examples=3)
    search = {"candidates": 8, "points": 3}
    every = policy_search.search_policies(case.model, case.model, case.batch, keep=8, floor=-1e9, rng=stream(1), **search)
    assert len(every) == 8
    assert [one.privacy for one in every] == sorted(one.privacy for one in every)
    assert all(len(policies.parse(one.policy)[0]) == 3 for one in every)
    floor = sorted(one.accuracy for one in every)[4]
    found = policy_search.search_policies(case.model, case.model, case.batch, keep=3, floor=floor, rng=stream(1), **search)
    assert 0 < len(found) <= 3
    assert all(one.accuracy >= floor for one in found)
    again = policy_search.search_policies(case.model, case.model, case.batch, keep=3, floor=floor, rng=stream(1), **search)
    assert again == found
