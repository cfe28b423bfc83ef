"""Generators: their images are those of naive networks; their files; how they are trained, measured and converted."""

import json
import math

import numpy as np
import pytest
import torch
from generators import CLASSY, TINY, deconvolution, random_weights, style, written
from safetensors.torch import load_file, save_file
from scipy.linalg import sqrtm
from torch import nn
from torch.nn import functional

from leakgauge.cli import main
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.data.photographs import Photographs
from leakgauge.generative.generators.converting import convert
from leakgauge.generative.generators.deconvolution import Deconvolution, Sizes
from leakgauge.generative.generators.files import SHIPPED, find, load, save
from leakgauge.generative.generators.fingerprints import fingerprints, learned_from
from leakgauge.generative.generators.generator import images, samples, through
from leakgauge.generative.generators.training.autoencoder import AutoEncoder
from leakgauge.generative.generators.training.loop import sizes, train
from leakgauge.generative.generators.training.networks import Strided, Trainable, start
from leakgauge.generative.generators.training.quality import RandomFeatures, fits, frechet, psnr
from leakgauge.generative.generators.training.sheets import sheet
from leakgauge.generative.generators.training.state import Minibatches
from leakgauge.generative.generators.training.wgan import WGAN, slope_penalty

QUICK = {"latent": 4, "widths": (6, 4), "batch_size": 8}
AUTOENCODER = AutoEncoder(**QUICK, encoder=(4,), steps=6)
CRITIC = WGAN(**QUICK, critic=(4, 6), critics=2, steps=4)


def pictures(count=40):
    pool = Photographs(size=8).load()
    return Minibatches(pool.x[:count], pool.y[:count], 0, True)


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


# The designs


def test_a_row_of_deconvolutions_is_what_torch_makes_of_its_weights():
    made = deconvolution(classes=3, channels=3)
    p, rng = made.params, stream(0)
    z, labels = torch.randn(4, 6, generator=rng), torch.eye(3)[torch.tensor([0, 2, 1, 0])]
    maps = functional.relu(torch.cat([z, labels], 1) @ p["0.weight"].T + p["0.bias"]).reshape(4, 5, 2, 2)
    maps = functional.relu(functional.conv_transpose2d(maps, p["1.weight"], p["1.bias"], stride=2, padding=1))
    maps = functional.conv_transpose2d(maps, p["2.weight"], p["2.bias"], stride=2, padding=1)
    found = images(made, z, labels)
    assert torch.allclose(found, (maps.tanh() + 1) / 2, atol=1e-6)
    assert found.shape[1:] == made.shape == (3, 8, 8)


def test_a_style_modulates_every_convolution_as_the_paper_says():
    made = style(classes=2, channels=3)
    p, z = made.params, torch.randn(3, 6, generator=stream(0))
    labels = torch.tensor([[1.0, 0], [0, 1], [0.5, 0.5]])
    for row in range(3):  # one by one, with no groups
        w = torch.cat([z[row] / z[row].square().mean().add(1e-8).sqrt(), labels[row]])
        for layer in range(2):
            w = math.sqrt(2) * functional.leaky_relu(p[f"mapping.{layer}.weight"] @ w + p[f"mapping.{layer}.bias"], 0.2)
        maps, image = p["constant"][None], torch.zeros(1, 3, 2, 2)
        for index in range(3):
            if index:
                maps, image = (one.repeat_interleave(2, 2).repeat_interleave(2, 3) for one in (maps, image))
            for name, normal in (("first", True), ("second", True), ("image", False)):
                kernel = p[f"{index}.{name}.weight"]
                scale = p[f"{index}.{name}.style.weight"] @ w + p[f"{index}.{name}.style.bias"]
                kernel = kernel * scale[None, :, None, None]
                if normal:
                    kernel = torch.stack([one / (one.square().sum() + 1e-8).sqrt() for one in kernel])
                out = functional.conv2d(maps, kernel, p[f"{index}.{name}.bias"], padding=kernel.shape[2] // 2)
                if name == "image":
                    image = image + out
                else:
                    maps = math.sqrt(2) * functional.leaky_relu(out, 0.2)
        assert torch.allclose(images(made, z, labels)[row], (image[0].tanh() + 1) / 2, atol=1e-5)


@pytest.mark.parametrize("made", [deconvolution(), style()], ids=["deconvolution", "style"])
def test_block_by_block_is_the_whole_and_a_search_may_enter_anywhere(made):
    z = torch.randn(2, 6, generator=stream(0))
    for depth in range(made.blocks):
        features = through(made, made.enter(z, None), 0, depth)
        assert torch.equal(through(made, features, depth).maps, images(made, z))
    assert images(made, z).min() >= 0
    assert images(made, z).max() <= 1
    assert images(made.to(torch.zeros((), dtype=torch.float64)), z.double()).dtype == torch.float64


def test_a_folded_generator_makes_what_the_trained_one_makes():
    network = start(Trainable(Sizes(5, 2, 3, 2, 2, (6, 4))), stream(0))
    z, labels = torch.randn(30, 5, generator=stream(1)), torch.eye(2)[torch.arange(30) % 2]
    network(z, labels)  # moves the running statistics
    for norm in network.norms:
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.uniform_(-1, 1)
    network.eval()
    made = Deconvolution(network.sizes, network.folded())
    assert torch.allclose(images(made, z, labels), network(z, labels), atol=1e-5)


# Files


def test_a_file_gives_back_the_generator_and_what_was_told_of_it(tmp_path):
    made = deconvolution(learned=torch.rand(3, 1, 8, 8))
    save(made, tmp_path / "one.safetensors")
    found = load("generator", tmp_path / "one.safetensors")
    assert found.sizes == made.sizes
    assert found.made == {"data": "nothing"}
    assert torch.equal(found.learned, made.learned)
    z = torch.randn(2, 6)
    assert torch.allclose(images(found, z), images(made, z), atol=1e-2), "half precision"
    assert isinstance(load("generator", find("generator", written(style()))), type(style()))


def _spoiled(path, tensors=None, told=None):
    whole = load_file(TINY)
    sizes = {"latent": 6, "classes": 0, "channels": 1, "side": 2, "kernel": 4, "widths": [5, 4]}
    metadata = {"design": "deconvolution", "sizes": json.dumps(sizes)}
    save_file({**whole, **(tensors or {})}, path, metadata={**metadata, **(told or {})})
    return path


@pytest.mark.parametrize(
    "spoil",
    [
        {"told": {"design": "unheard"}},
        {"told": {"sizes": "nonsense"}},
        {"told": {"sizes": json.dumps({"latent": 6})}},
        {"told": {"sizes": json.dumps([1, 2])}},
        {"told": {"sizes": "null"}},
        {"told": {"sizes": json.dumps({"latent": 10**9, "classes": 0, "channels": 1, "side": 2, "kernel": 4, "widths": [5]})}},
        {"told": {"sizes": json.dumps({"latent": -1, "classes": 0, "channels": 1, "side": 2, "kernel": 4, "widths": [5, 4]})}},
        {"told": {"sizes": json.dumps({"latent": 6, "classes": 0, "channels": 1, "side": 2, "kernel": 4, "widths": []})}},
        {"told": {"sizes": json.dumps({"latent": 6, "classes": 0, "channels": 1, "side": 2, "kernel": 3, "widths": [5, 4]})}},
        {"tensors": {"0.weight": torch.full((20, 6), torch.nan)}},
        {"tensors": {"0.weight": torch.ones(20, 5)}},
        {"tensors": {"0.weight": torch.ones(20, 6, dtype=torch.int64)}},
        {"tensors": {"more": torch.ones(1)}},
        {"tensors": {"learned from": torch.ones(2, 2, dtype=torch.int64)}},
    ],
    ids=str,
)
def test_a_file_that_holds_no_generator_is_told_in_a_line(tmp_path, spoil):
    with pytest.raises(UsageError) as error:
        load("latent.generator", _spoiled(tmp_path / "bad.safetensors", **spoil))
    one_line(error, "latent.generator", "holds no generator", "prior train")


def test_what_is_no_file_is_told_in_a_line(tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(UsageError) as error:
        load("g", tmp_path / "text.safetensors")
    one_line(error, "holds no generator")
    with pytest.raises(UsageError) as error:
        load("g", tmp_path / "nowhere.safetensors")
    one_line(error, "expected a file that exists")
    with pytest.raises(UsageError) as error:
        find("latent.generator", "colour")
    one_line(error, "colour", "did you mean 'color'")


# Training


@pytest.mark.parametrize("training", [AUTOENCODER, CRITIC], ids=["autoencoder", "wgan"])
@pytest.mark.parametrize("classes", [0, 10], ids=["unconditional", "conditional"])
def test_a_training_that_was_interrupted_ends_as_one_that_was_not(tmp_path, training, classes):
    data = pictures()
    data = Minibatches(data.x, data.y, classes, True)
    whole = train(training, data, seed=0)
    checkpoint, steps = tmp_path / "one.checkpoint", []

    class Interrupt(Exception):
        pass

    def stop(now):
        steps.append(now.step)
        if now.step == 2:
            raise Interrupt

    with pytest.raises(Interrupt):
        train(training, data, seed=0, checkpoint=checkpoint, every=2, hear=stop)
    resumed = train(training, data, seed=0, checkpoint=checkpoint, every=2, hear=stop)
    assert steps == list(range(2, training.steps + 1, 2))
    assert all(torch.equal(value, resumed.params[name]) for name, value in whole.params.items())
    other = train(training, data, seed=1)
    assert not torch.equal(other.params["0.weight"], whole.params["0.weight"])
    with pytest.raises(UsageError) as error:
        train(training, data, seed=1, checkpoint=checkpoint)
    one_line(error, "of another training")
    checkpoint.write_bytes(b"nothing")
    with pytest.raises(UsageError) as error:
        train(training, data, seed=0, checkpoint=checkpoint)
    one_line(error, "holds no checkpoint")


def test_an_auto_encoder_learns_its_images():
    data = Minibatches(pictures(8).x, torch.zeros(8, dtype=torch.long), 0, False)
    training = AutoEncoder(latent=8, widths=(32, 16), encoder=(16, 32), batch_size=16, steps=250)
    few = fits(train(AutoEncoder(latent=8, widths=(32, 16), encoder=(16, 32), batch_size=16, steps=1), data, seed=0), data.x, None)
    many = fits(train(training, data, seed=0), data.x, None)
    mean = psnr(data.x.mean(dim=0, keepdim=True), data.x).mean()
    assert many.mean() > max(mean, few.mean()) + 3


def test_a_critic_learns_to_tell_images_apart():
    distances = []
    for critics in (1, 60):  # before the generator moves once
        training = WGAN(**QUICK, critic=(8, 8), critics=critics, steps=1, learning_rate=1e-3)
        train(training, pictures(), seed=0, hear=lambda now: distances.append(now.told["distance"]))
    assert distances[1] > 0.1 > abs(distances[0])


def test_the_slope_penalty_is_that_of_its_formula():
    class Sloped(nn.Module):
        def forward(self, x, labels):
            return 3 * x.flatten(1)[:, :4].sum(dim=1, keepdim=True)

    x, made = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    found = slope_penalty(Sloped(), x, made, torch.empty(5, 0), rng=stream(0))
    assert float(found) == pytest.approx((3 * 2 / 2 - 1) ** 2), "slope 3 in each of four pixels, and half of it from -1 to 1"


def test_a_label_reaches_the_critic_and_the_generator():
    x, y = torch.rand(4, 1, 8, 8), torch.eye(3)[[0, 0, 1, 2]]
    critic = start(Strided(1, 3, 8, (4,), 1), stream(0))
    assert not torch.allclose(critic(x[:1], y[:1]), critic(x[:1], y[2:3]))
    made = load("g", find("g", CLASSY))
    z = torch.randn(1, 6)
    assert not torch.allclose(images(made, z, torch.eye(4)[:1]), images(made, z, torch.eye(4)[1:2]))


def test_images_that_do_not_fit_are_refused():
    for x in (torch.rand(4, 1, 8, 12), torch.rand(4, 1, 10, 10)):
        with pytest.raises(UsageError) as error:
            sizes(AUTOENCODER, x, 0)
        one_line(error, "multiple of 4")
    with pytest.raises(UsageError) as error:
        sizes(AutoEncoder(kernel=3), torch.rand(4, 1, 8, 8), 0)
    one_line(error, "kernel", "even")


def test_a_training_that_diverges_is_told_in_a_line():
    training = AutoEncoder(**QUICK, encoder=(4,), steps=20, learning_rate=1e9)
    with pytest.raises(UsageError) as error:
        train(training, pictures(), seed=0)
    one_line(error, "learning_rate", "diverged")


def test_mini_batches_are_images_with_their_labels_some_of_them_mirrored():
    x = torch.arange(6.0).reshape(6, 1, 1, 1) / 10 + torch.tensor([0.0, 0.05]).reshape(1, 1, 1, 2)
    data = Minibatches(x, torch.arange(6) % 3, 3, True)
    drawn, labels = data.draw(200, rng=stream(0))
    number = (drawn.amin(dim=(1, 2, 3)) * 10).round().long()
    assert torch.equal(labels.argmax(dim=1), number % 3)
    turned = (drawn[:, 0, 0, 0] > drawn[:, 0, 0, 1]).float().mean()
    assert 0.3 < float(turned) < 0.7
    plain, none = Minibatches(x, torch.arange(6) % 3, 0, False).draw(50, rng=stream(0))
    assert bool((plain[:, 0, 0, 0] < plain[:, 0, 0, 1]).all())
    assert none.shape == (50, 0)


# Quality


def test_the_frechet_distance_is_that_of_its_formula():
    rng = stream(0)
    x, other = torch.rand(500, 1, 8, 8, generator=rng), 0.7 * torch.rand(500, 1, 8, 8, generator=rng)
    features = [RandomFeatures(1)(one).double().numpy() for one in (x, other)]
    (m, s), (n, t) = ((one.mean(axis=0), np.cov(one.T) + 1e-9 * np.eye(one.shape[1])) for one in features)
    root = sqrtm(s)
    expected = ((m - n) ** 2).sum() + np.trace(s + t - 2 * sqrtm(root @ t @ root).real)
    assert frechet(x, other) == pytest.approx(expected, rel=1e-2)
    assert abs(frechet(x, x)) < 1e-3 * expected


def test_a_fit_finds_the_images_that_a_generator_makes():
    made = deconvolution(channels=3)
    x = samples(made, 6, seed=3)
    assert fits(made, x, None).median() > 30
    assert fits(made, torch.rand(6, 3, 8, 8), None).median() < 20


def test_fingerprints_tell_images_and_their_mirror_images_and_nothing_else():
    x = Photographs(size=8).load().x
    known = fingerprints(x[:20])
    assert len(known.unique()) == 20
    assert bool(learned_from(known, x[:20]).all())
    assert bool(learned_from(known, x[:20].flip(-1)).all())
    assert not bool(learned_from(known, x[40:60]).any())
    assert not bool(learned_from(known, (x[:20] * 254 / 255)).any())


def test_a_sheet_holds_the_images_in_rows():
    page = np.asarray(sheet(torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 1, 2, 2) / 10))
    assert page.shape == (4, 6)
    assert [int(page[0, 0]), int(page[0, 2]), int(page[2, 0]), int(page[3, 5])] == [0, round(25.5), round(76.5), 255]


# Converting


def _dcgan(latent, channels, widths):
    layers, befores = [], (latent, *widths)
    for index, (before, after) in enumerate(zip(befores, (*widths, channels), strict=True)):
        layers.append(nn.ConvTranspose2d(before, after, 4, 1 if index == 0 else 2, 0 if index == 0 else 1, bias=False))
        if index < len(widths):
            layers += [nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout(0.2)]
    net = nn.Sequential(*layers, nn.Tanh())
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.uniform_(-0.5, 0.5)
    return net.eval()


@pytest.mark.parametrize("wrap", [dict, lambda state: {"epoch": 3, "netG_state_dict": state, "netD": {}}], ids=["plain", "wrapped"])
@pytest.mark.parametrize("classes", [0, 2])
def test_a_converted_dcgan_makes_what_the_package_makes(tmp_path, wrap, classes):
    torch.manual_seed(0)
    net = _dcgan(5 + classes, 3, (8, 6))
    torch.save(wrap(net.state_dict()), tmp_path / "weights.pth")
    found = convert(tmp_path / "weights.pth", classes=classes, made={})
    assert found.shape == (3, 16, 16)
    z, labels = torch.randn(3, 5), torch.eye(classes)[torch.arange(3) % classes] if classes else None
    entering = z if labels is None else torch.cat([z, labels], 1)
    with torch.no_grad():
        expected = (net(entering[:, :, None, None]) + 1) / 2
    assert torch.allclose(images(found, z, labels), expected, atol=1e-5)


class Bomb:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_what_is_no_generator_is_not_converted_and_never_run(tmp_path, capsys):
    torch.save({"netG": Bomb()}, tmp_path / "bomb.pth")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    for name, words in (
        ("bomb", "without running it"),
        ("other", "no generator"),
        ("list", "no generator"),
        ("text", "without running"),
    ):
        with pytest.raises(UsageError) as error:
            convert(tmp_path / f"{name}.pth", classes=0, made={})
        one_line(error, words)
    with pytest.raises(UsageError) as error:
        convert(tmp_path / "nowhere.pth", classes=0, made={})
    one_line(error, "expected a file that exists")
    assert "must not run" not in capsys.readouterr().out


# The command


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["prior", *map(str, arguments)])
    return end.value.code or 0


def test_the_command_trains_shows_and_says_what_it_learned_from(tmp_path, capsys):
    out = tmp_path / "made" / "small.safetensors"
    quick = [f"--set={setting}" for setting in ("latent=4", "widths=[6, 4]", "encoder=[4]", "batch_size=8", "steps=4")]
    assert run("train", "{name: photographs, size: 8}", "-o", out, "--gray", "--held-out", 60, "--every", 2, *quick) == 0
    told = capsys.readouterr()
    assert "step 2 of 4" in told.err
    assert "Fréchet distance" in told.out
    found = load("g", out)
    assert found.shape == (1, 8, 8)
    assert len(found.learned) == 290
    assert out.with_suffix(".png").exists()
    assert not out.with_suffix(".checkpoint").exists()
    assert run("show", out, "--sheet", tmp_path / "sheet.png") == 0
    shown = capsys.readouterr().out
    assert "1 x 8 x 8" in shown
    assert "photographs" in shown
    assert str(tmp_path) not in json.dumps(dict(found.made))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "photographs", "-o", "x.safetensors", "--set=steps=0"), ("steps", "0")),
        (("train", "photographs", "-o", "x.safetensors", "--set=step=3"), ("step", "did you mean 'steps'")),
        (("train", "photographs", "-o", "x.safetensors", "--set=widths"), ("key=value",)),
        (("train", "photographs", "-o", "x.safetensors", "--held-out=1000000"), ("expected more than",)),
        (("train", "nothing", "-o", "x.safetensors"), ("data", "nothing")),
        (("show", "nothing"), ("generator", "nothing")),
        (("convert", "nowhere.pth", "-o", "x.safetensors"), ("nowhere.pth",)),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    told = capsys.readouterr().err.strip()
    assert told.count("\n") == 0
    assert all(word in told for word in words), told


# What comes along


@pytest.mark.parametrize(("name", "shape"), [("color", (3, 32, 32)), ("gray", (1, 28, 28))])
def test_a_generator_that_comes_along_says_how_it_was_made(name, shape):
    found = load("g", SHIPPED[name])
    assert found.shape == shape
    assert {"data", "training", "seed", "images"} <= found.made.keys()
    assert len(found.learned) == int(found.made["images"])
    assert SHIPPED[name].stat().st_size < 4e6


def test_what_comes_along_never_saw_the_data_that_come_along():
    for size, name in ((32, "color"), (28, "gray")):
        x = Photographs(size=size).load().x
        known = load("g", SHIPPED[name]).learned
        assert not bool(learned_from(known, x if name == "color" else x.mean(dim=1, keepdim=True)).any())


def test_random_weights_are_those_of_the_sizes():
    assert random_weights(deconvolution().sizes).keys() == deconvolution().params.keys()


# Diffusion models


@pytest.fixture(scope="module")
def ddim(tmp_path_factory):
    """A folder with a tiny diffusion model of random weights, as diffusers writes it."""
    from diffusers import DDIMScheduler, UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=4,
    )
    folder = tmp_path_factory.mktemp("ddim")
    network.save_pretrained(folder / "unet")
    DDIMScheduler(num_train_timesteps=5, clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text("{}")
    return folder


def test_a_diffusion_model_is_sampled_as_its_paper_says(ddim):
    found = load("g", find("g", str(ddim)))
    assert (found.latent, found.classes, found.shape, found.blocks) == (64, 4, (1, 8, 8), 5)
    z, labels = torch.randn(2, 64), torch.eye(4)[[1, 3]]
    kept = found.schedule.alphas_cumprod
    x = z.reshape(2, 1, 8, 8)
    with torch.no_grad():
        for place, time in enumerate(found.schedule.timesteps):
            noise = found.network(x, time, class_labels=torch.tensor([1, 3])).sample
            now = kept[time]
            after = kept[found.schedule.timesteps[place + 1]] if place < 4 else found.schedule.final_alpha_cumprod
            x = after.sqrt() * (x - (1 - now).sqrt() * noise) / now.sqrt() + (1 - after).sqrt() * noise
        assert torch.allclose(images(found, z, labels), (x.clamp(-1, 1) + 1) / 2, atol=1e-4)
        assert not torch.allclose(images(found, z, labels), images(found, z, labels.flip(0)))
    leaf = z.clone().requires_grad_()
    images(found, leaf, labels).sum().backward()
    assert float(leaf.grad.abs().sum()) > 0
    half = found.to(torch.zeros((), dtype=torch.float64))
    assert next(found.network.parameters()).dtype == torch.float32
    assert next(half.network.parameters()).dtype == torch.float64


def test_a_folder_without_a_diffusion_model_is_told_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UsageError) as error:
        load("latent.generator", find("latent.generator", str(tmp_path)))
    one_line(error, "latent.generator", "holds no diffusion model")
    with pytest.raises(UsageError) as error:
        find("latent.generator", str(tmp_path.parent))
    one_line(error, "expected a .safetensors file")
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(UsageError) as error:
        load("latent.generator", tmp_path)
    one_line(error, "leakgauge[diffusion]")
