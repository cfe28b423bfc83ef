"""The learned density: exact, differentiable, whole on any grid; its files; the command that fits it; the flows that come along."""

import itertools
import json
import math

import pytest
import torch
from batches import alike
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from table import FLAT

from leakgauge import spec
from leakgauge.attacks.priors.flow import Flow
from leakgauge.cli import main
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.types import Inputs
from leakgauge.data.faces import Faces
from leakgauge.data.photographs import Photographs
from leakgauge.generative.flows.coupling import PatchFlow, Shape, whitened
from leakgauge.generative.flows.files import load, save, shipped
from leakgauge.generative.flows.fitting import Fitting, bits_per_dimension, fit
from leakgauge.generative.flows.patches import draw, grid, luminance, split, spread
from leakgauge.testing import sample

SMALL = Shape(channels=1, side=3, couplings=3, hidden=8)


def random_flow(shape=SMALL, seed=0, size=0.6):
    """A flow whose couplings do something, in double precision."""
    rng = stream(seed)
    flow = whitened(shape, torch.rand(500, shape.size, generator=rng), rng=rng)
    params = {
        name: value if name.endswith("order") else (value + size * torch.randn(value.shape, generator=rng)).double()
        for name, value in flow.params.items()
    }
    params |= {name: flow.params[name].double() for name in ("mean", "whitening")}
    return PatchFlow(shape, params)


def seen_of(shape, low=0.0, high=1.0):
    return sample(FLAT, examples=2, inputs=Inputs(shape, 4, low=low, high=high)).observe(FedSGD())


# The flow


def test_the_log_determinant_is_that_of_the_jacobian():
    flow = random_flow()
    patches = torch.rand(4, 9, generator=stream(1)).double()
    z, log_det = flow.encode(patches)
    for patch, one, found in zip(patches, z, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda p: flow.encode(p[None])[0][0], patch)
        assert float(found) == pytest.approx(float(jacobian.det().abs().log()), rel=1e-9)
        normal = sum(-0.5 * float(number) ** 2 - 0.5 * math.log(2 * math.pi) for number in one)
        assert float(flow.log_density(patch[None])) == pytest.approx(normal + float(jacobian.det().abs().log()), rel=1e-9)
    assert log_det.std() > 0.1, "couplings that scale nothing would pass as well"


def test_an_affine_coupling_is_what_its_formula_says():
    flow = random_flow(Shape(channels=1, side=2, couplings=1, hidden=3))
    p, patch = flow.params, torch.rand(4, generator=stream(1)).double()
    white = p["whitening"] @ (patch - p["mean"])
    a, b = [white[int(i)] for i in p["0.order"]][:2], [white[int(i)] for i in p["0.order"]][2:]
    inner = [sum(w * v for w, v in zip(row, a, strict=True)) + c for row, c in zip(p["0.in.weight"], p["0.in.bias"], strict=True)]
    inner = [math.tanh(h) for h in inner]
    outer = [
        sum(w * v for w, v in zip(row, inner, strict=True)) + c for row, c in zip(p["0.out.weight"], p["0.out.bias"], strict=True)
    ]
    scales, shifts = [2 * math.tanh(value / 2) for value in outer[:2]], outer[2:]
    expected = [*a, *(v * math.exp(s) + t for v, s, t in zip(b, scales, shifts, strict=True))]
    z, log_det = flow.encode(patch[None])
    assert z[0].tolist() == pytest.approx([float(value) for value in expected])
    assert float(log_det) == pytest.approx(sum(scales) + float(p["whitening"].det().abs().log()))


@pytest.mark.parametrize("shape", [SMALL, Shape(channels=3, side=2, couplings=4, hidden=5)], ids=str)
def test_decoding_undoes_encoding(shape):
    flow = random_flow(shape)
    patches = torch.rand(20, shape.size, generator=stream(1)).double()
    assert torch.allclose(flow.decode(flow.encode(patches)[0]), patches, atol=1e-9)
    z = torch.randn(20, shape.size, generator=stream(2)).double()
    assert torch.allclose(flow.encode(flow.decode(z))[0], z, atol=1e-9)


def test_the_density_integrates_to_one():
    flow = random_flow(Shape(channels=2, side=1, couplings=2, hidden=4), size=0.25)
    axis = torch.linspace(-14, 15, 1451, dtype=torch.float64)
    density = flow.log_density(torch.cartesian_prod(axis, axis)).exp()
    assert float(density.sum()) * 0.02**2 == pytest.approx(1, abs=1e-4)


def test_whitening_fits_a_gaussian():
    rng = stream(0)
    data = torch.randn(4000, 4, generator=rng) @ torch.randn(4, 4, generator=rng) + 3
    flow = whitened(Shape(channels=1, side=2, couplings=2, hidden=4), data, rng=rng)
    gaussian = torch.distributions.MultivariateNormal(data.mean(0), torch.cov(data.T))
    assert torch.allclose(flow.log_density(data), gaussian.log_prob(data), atol=1e-3)


# Patches


@pytest.mark.parametrize(("height", "width", "stride"), [(5, 5, 1), (7, 5, 2), (8, 9, 3), (3, 3, 2), (4, 11, 3)])
def test_a_grid_is_all_patches_at_its_starts_and_covers_every_pixel(height, width, stride):
    x = torch.arange(2 * 2 * height * width).reshape(2, 2, height, width).float()
    found = {tuple(patch.tolist()) for patch in grid(x, 3, stride)}
    every = {
        (n, i, j): tuple(x[n, :, i : i + 3, j : j + 3].flatten().tolist())
        for n, i, j in itertools.product(range(2), range(height - 2), range(width - 2))
    }
    starts = [place for place, patch in every.items() if patch in found]
    assert len(found) == len(starts) == len(grid(x, 3, stride)), "each is a patch, and none is taken twice"
    assert {value for patch in found for value in patch} == set(x.flatten().tolist())
    for side, axis in ((height, 1), (width, 2)):
        places = sorted({place[axis] for place in starts})
        assert all(after - before <= stride for before, after in itertools.pairwise(places))
        assert (places[0], places[-1]) == (0, side - 3)
    if stride == 1:
        assert len(starts) == len(every)


def test_patches_are_drawn_from_everywhere_with_noise_of_one_level():
    x = torch.arange(2 * 1 * 4 * 5).reshape(2, 1, 4, 5) / 255
    drawn = draw(x, 2, 4000, smoothing=0.0, rng=stream(0)) * 256
    levels = drawn.floor()
    corners = {
        (n, i, j): [20 * n + 5 * (i + a) + j + b for a in (0, 1) for b in (0, 1)]
        for n in (0, 1)
        for i in range(3)
        for j in range(4)
    }
    assert {tuple(patch.tolist()) for patch in levels} == {tuple(map(float, patch)) for patch in corners.values()}
    noise = drawn - levels
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(noise.var()) == pytest.approx(1 / 12, abs=0.003)
    assert torch.allclose(spread(x), (255 * x + 0.5) / 256)
    noise = draw(torch.full_like(x, 0.5), 2, 4000, smoothing=0.1, rng=stream(0)) - spread(torch.tensor(0.5))
    assert float(noise.std()) == pytest.approx(0.1, abs=0.003)


def test_luminance_is_that_of_pillow():
    x = Photographs(size=8).load().x[:4]
    image = pytest.importorskip("PIL.Image")
    for one, gray in zip(x, luminance(x), strict=True):
        rgb = image.fromarray((one * 255).round().byte().movedim(0, -1).numpy())
        expected = torch.tensor(list(rgb.convert("L").tobytes())).reshape(8, 8)
        assert torch.allclose(gray[0] * 255, expected.float(), atol=1.01), "pillow cuts off where we round"
    assert torch.equal(luminance(gray[None]), gray[None])


def test_what_is_held_out_is_not_learned_from():
    learned, held = split(torch.arange(10), 3, rng=stream(0))
    assert (len(learned), len(held)) == (7, 3)
    assert sorted([*learned.tolist(), *held.tolist()]) == list(range(10))


# The prior


def flow_file(tmp_path, flow, name="flow.safetensors"):
    save(flow, tmp_path / name)
    return str(tmp_path / name)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_prior_is_the_mean_over_patches_times_their_number_in_an_image(tmp_path, stride):
    flow = random_flow()
    seen = seen_of((1, 7, 5), low=-1.0, high=3.0)
    x = 4 * torch.rand(2, 1, 7, 5, generator=stream(3)).double() - 1
    densities = []
    for n, i, j in itertools.product(range(2), range(0, 5, stride), range(0, 3, stride)):
        patch = [((float(v) + 1) / 4 * 255 + 0.5) / 256 for v in x[n, 0, i : i + 3, j : j + 3].flatten()]
        densities.append(float(flow.log_density(torch.tensor([patch], dtype=torch.float64))))
    nats = 2 * 35 / 9 * (-sum(densities) / len(densities) + 9 * math.log(256))
    prior = Flow(weight=0.3, stride=stride, weights=flow_file(tmp_path, flow))
    assert float(prior(alike(x), seen)) == pytest.approx(0.3 * nats, rel=1e-9)


def test_the_prior_has_the_gradient_that_differences_have(tmp_path):
    prior = Flow(weights=flow_file(tmp_path, random_flow()), stride=2)
    x = torch.rand(1, 1, 5, 5, generator=stream(1)).double().requires_grad_()
    seen = seen_of((1, 5, 5))
    assert torch.autograd.gradcheck(lambda value: prior(alike(value), seen), x)


def test_tilings_by_independent_patches_have_the_mean_of_their_energies():
    """What an image costs is its cost by any grid whose patches tile it, where the image repeats itself."""
    seen = seen_of((3, 12, 12))
    tile = Photographs(size=6).load().x[:1]
    x = tile.tile(1, 1, 2, 2)
    flow = load("", shipped(3))
    alone = 3 * 36 * math.log(256) - float(flow.log_density(spread(tile.flatten(1))))
    assert float(Flow(stride=6)(alike(x), seen)) == pytest.approx(4 * alone, rel=1e-5)


@pytest.mark.parametrize("shape", [(5,), (2, 8, 8), (3, 5, 8), (1, 8, 5)], ids=str)
def test_inputs_that_are_no_images_or_too_small_are_out_of_scope(shape):
    with pytest.raises(OutOfScope, match=r"shape|channels"):
        Flow()(alike(torch.rand(1, *shape)), seen_of(shape))


def test_a_flow_of_other_channels_is_out_of_scope(tmp_path):
    with pytest.raises(OutOfScope, match=r"images are of shape \(3, 8, 8\), and the flow's patches of \(1, 3, 3\)"):
        Flow(weights=flow_file(tmp_path, random_flow()))(alike(torch.rand(1, 3, 8, 8)), seen_of((3, 8, 8)))


# Files


def test_a_file_gives_back_the_flow_and_how_it_was_made(tmp_path):
    flow = PatchFlow(SMALL, random_flow().params, {"data": "faces"})
    path = tmp_path / "flow.safetensors"
    save(flow, path)
    again = load("weights", path)
    assert (again.shape, again.made) == (SMALL, {"data": "faces"})
    assert all(torch.equal(value, flow.params[name]) for name, value in again.params.items())
    save(random_flow(seed=1), path)
    assert not torch.equal(load("weights", path).params["mean"], flow.params["mean"]), "a file that changed is read again"


def broken(tmp_path, fault):
    """A file with one thing wrong."""
    path = tmp_path / "flow.safetensors"
    save(random_flow(), path)
    with safe_open(path, framework="pt") as file:
        told = file.metadata()
    tensors = load_file(path)
    match fault:
        case "text":
            path.write_text("no tensors")
            return path
        case "a folder":
            path.unlink()
            path.mkdir()
            return path
        case "no metadata":
            told = None
        case "no shape":
            told = told | {"side": "three"}
        case "no couplings":
            told = told | {"couplings": "0"}
        case "other tensors":
            tensors = {"x": torch.zeros(1)}
        case "another size":
            told = told | {"hidden": "9"}
        case "no permutation":
            tensors["1.order"] = torch.zeros(9, dtype=torch.long)
        case "nan":
            tensors["mean"] = tensors["mean"] * math.nan
        case "integers":
            tensors["0.in.bias"] = tensors["0.in.bias"].long()
    save_file(tensors, path, metadata=told)
    return path


FAULTS = (
    "text",
    "a folder",
    "no metadata",
    "no shape",
    "no couplings",
    "other tensors",
    "another size",
    "no permutation",
    "nan",
    "integers",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_holds_no_flow_is_told_in_a_line(tmp_path, fault):
    path = broken(tmp_path, fault)
    with pytest.raises(UsageError, match=r"^flow\.weights: .*flow\.safetensors.*expected") as told:
        Flow(weights=str(path))(alike(torch.rand(1, 1, 8, 8)), seen_of((1, 8, 8)))
    assert "\n" not in str(told.value)


def test_a_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"^flow\.weights: got '.*nowhere', expected a file that exists; check the path$"):
        Flow(weights=str(tmp_path / "nowhere"))(alike(torch.rand(1, 1, 8, 8)), seen_of((1, 8, 8)))


# Fitting


def test_a_fit_finds_what_a_gaussian_cannot():
    """Contrast that differs between images: to a Gaussian all are alike, a flow tells one half of a patch by the other."""
    contrast = torch.where(torch.rand(400, 1, 1, 1, generator=stream(1)) < 0.5, 0.01, 0.1)
    x = 0.5 + contrast * torch.randn(400, 1, 8, 8, generator=stream(0))
    learned, held = split(x, 100, rng=stream(2))
    gaussian = whitened(Shape(1, 2, 2, 16), draw(learned, 2, 20_000, smoothing=0.0, rng=stream(3)), rng=stream(4))
    flow = fit(learned, Fitting(side=2, couplings=4, hidden=16, steps=300, learning_rate=1e-2, smoothing=0.0), rng=stream(5))
    before, after = (bits_per_dimension(one, held, smoothing=0.0, rng=stream(6)) for one in (gaussian, flow))
    assert after < before - 0.5


def test_bits_of_pure_chance_are_eight():
    x = (torch.rand(200, 1, 8, 8, generator=stream(0)) * 255).round() / 255
    flow = fit(x, Fitting(side=2, steps=1, smoothing=0.0), rng=stream(1))
    gaussian = 0.5 * math.log2(2 * math.pi * math.e / 12)  # what a normal density of the same variance wastes
    assert bits_per_dimension(flow, x, smoothing=0.0, rng=stream(2)) == pytest.approx(8 + gaussian, abs=0.05)


def test_the_same_chance_fits_the_same_flow():
    x = torch.rand(20, 1, 4, 4, generator=stream(0))
    one, other, another = (fit(x, Fitting(side=2, hidden=4, steps=3), rng=stream(seed)).params for seed in (1, 1, 2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not torch.equal(one["mean"], another["mean"])


def test_a_fit_that_cannot_be_is_told():
    with pytest.raises(UsageError, match=r"^side: got 9, expected at most 8, for images are 8x8; lower it$"):
        fit(torch.rand(4, 1, 8, 8), Fitting(side=9), rng=stream(0))
    with pytest.raises(UsageError, match=r"learning_rate: got .* diverged at step"):
        fit(torch.rand(4, 1, 8, 8), Fitting(side=2, steps=50, warmup=1, learning_rate=1e30), rng=stream(0))


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return left.value.code, *capsys.readouterr()

    return call


def test_the_command_fits_a_flow_that_the_prior_takes(run, tmp_path):
    path = tmp_path / "new" / "faces.safetensors"
    code, told, progress = run("density", "faces", "--out", path, "--steps", 20, "--held-out", 50, "--seed", 3)
    assert code == 0
    assert f"Flow: {path}" in told.replace("\n", " ")
    assert progress.splitlines()[-1] == "step 20 of 20"
    made = load("", path).made
    assert (made["data"], made["steps"], made["seed"], made["images"], made["gray"]) == ("faces", "20", "3", "150", "False")
    assert 0 < float(made["bits per dimension, held out"]) < 8
    assert f"held out: {made['bits per dimension, held out']}" in told
    x = Faces().load().x[:2]
    assert float(Flow(weights=str(path))(alike(x), seen_of((1, 25, 25)))) > 0


def test_the_command_takes_gray_of_color_and_tells_no_path(run, tmp_path):
    arrays = tmp_path / "somewhere" / "pictures.safetensors"
    arrays.parent.mkdir()
    save_file({"x": torch.rand(30, 3, 8, 8, generator=stream(0)), "y": torch.zeros(30, dtype=torch.long)}, arrays)
    path = tmp_path / "flow.safetensors"
    data = json.dumps({"name": "safetensors", "path": str(arrays)})
    assert run("density", data, "--out", path, "--steps", 2, "--held-out", 10, "--gray")[0] == 0
    flow = load("", path)
    assert (flow.shape.channels, flow.made["data"], flow.made["gray"]) == (1, "pictures", "True")
    assert "somewhere" not in str(flow.made)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("face",), "data: no data is called 'face', did you mean 'faces'?"),
        (("faces", "--held-out", "200"), "data: has 200 examples of shape (1, 25, 25), expected more than 200 images"),
    ],
)
def test_the_command_tells_bad_input(run, tmp_path, arguments, expected):
    code, _, errors = run("density", *arguments, "--out", tmp_path / "flow.safetensors")
    assert (code, errors.startswith(f"error: {expected}")) == (2, True), errors


# The flows that come along


def pictures(channels):
    """Photographs that no flow was fitted to."""
    x = Photographs(size=32).load().x
    return x if channels == 3 else luminance(x)


@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_are_likelier_than_noise_and_than_their_own_pixels_in_another_order(channels):
    x = pictures(channels)
    seen = seen_of(tuple(x.shape[1:]))
    order = torch.randperm(32 * 32, generator=stream(0))
    shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
    for one, other in zip(x, shuffled, strict=True):
        cost = [float(Flow()(alike(image[None]), seen)) for image in (one, other, torch.rand(one.shape, generator=stream(1)))]
        assert 0 < cost[0] < min(cost[1:])


@pytest.mark.parametrize("channels", [1, 3])
def test_what_comes_along_is_a_density_of_images(channels):
    flow = load("", shipped(channels))
    assert flow.made["data"] == "cifar10_train"
    noise = math.log2(float(flow.made["smoothing"]) * 256 * math.sqrt(2 * math.pi * math.e))  # the entropy of the noise alone
    assert noise < float(flow.made["bits per dimension, held out"]) < 8
    x = pictures(channels)
    patches = grid(x, flow.shape.side, 5)
    z, _ = flow.encode(spread(patches))
    assert torch.allclose(flow.decode(z), spread(patches), atol=1e-3)
    drawn = flow.decode(torch.randn(2000, flow.shape.size, generator=stream(0)))
    inside = ((drawn > -0.1) & (drawn < 1.1)).float().mean()
    assert inside > 0.95, "what it draws are pixels"
    drawn = drawn.reshape(-1, flow.shape.side, flow.shape.side) if channels == 1 else drawn.reshape(-1, 3, 6, 6)[:, 0]
    left, right = drawn[:, 2, 2], drawn[:, 2, 3]
    assert float(torch.corrcoef(torch.stack([left, right]))[0, 1]) > 0.8, "and neighbors agree"
    assert shipped(channels).stat().st_size < 2_000_000


def test_the_command_of_the_document_is_the_one_that_made_them():
    made = [load("", shipped(channels)).made for channels in (1, 3)]
    assert [one["gray"] for one in made] == ["True", "False"]
    assert made[0]["steps"] == made[1]["steps"]


def test_a_config_names_the_prior():
    prior = spec.build("prior", {"name": "flow", "weight": 0.5, "stride": 2})
    assert prior == Flow(weight=0.5, stride=2)
    assert spec.describe("prior", prior) == {"name": "flow", "weight": 0.5, "stride": 2, "weights": None}
