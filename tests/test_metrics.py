"""Metrics: against skimage, brute force and numbers computed by hand."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import metrics as skimage
from table import FLAT

from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.floors import MeanImage
from leakgauge.auditing.pipeline import run
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.capabilities import SERVER
from leakgauge.core.errors import MissingExtra, OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.metrics import conventions, lpips
from leakgauge.metrics.affine import Affine, fit
from leakgauge.metrics.lpips import LPIPS
from leakgauge.metrics.mse import MSE
from leakgauge.metrics.psnr import PSNR
from leakgauge.metrics.ssim import SSIM
from leakgauge.results.gate import Policy, gate
from leakgauge.testing import sample

METRICS = {"mse": MSE(), "psnr": PSNR(), "ssim": SSIM(), "affine": Affine(metric=PSNR())}
SHAPES = [(1, 8, 8), (3, 8, 12), (3, 25, 25)]


def images(*shape, seed=0):
    return torch.rand(*shape, generator=stream(seed, "images"))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_score_belongs_to_its_own_example(name, shape):
    guess, truth = images(3, *shape), images(3, *shape, seed=1)
    scores = METRICS[name](guess, truth)
    assert scores.shape == (3,)
    for row in range(3):
        torch.testing.assert_close(METRICS[name](guess[row : row + 1], truth[row : row + 1]), scores[row : row + 1])


@pytest.mark.parametrize("name", METRICS)
def test_pixels_are_clamped(name):
    guess, truth = images(2, 1, 8, 8), images(2, 1, 8, 8, seed=1)
    wide = torch.where(guess > 0.5, guess + 10, guess - 10)
    if name != "affine":  # which fits before it clamps
        torch.testing.assert_close(METRICS[name](wide, truth), METRICS[name](wide.clamp(0, 1), truth))
    assert METRICS[name](wide, truth).isfinite().all()


@pytest.mark.parametrize(("name", "perfect"), [("mse", 0.0), ("psnr", 120.0), ("ssim", 1.0), ("affine", 120.0)])
def test_a_copy_is_perfect(name, perfect):
    truth = images(2, 3, 9, 9)
    torch.testing.assert_close(METRICS[name](truth.clone(), truth), torch.full((2,), perfect))


@pytest.mark.parametrize("name", METRICS)
def test_nan_scores_nan(name):
    truth = images(2, 1, 8, 8)
    guess = truth.clone()
    guess[1, 0, 2, 3] = torch.nan
    assert METRICS[name](guess, truth).isnan().tolist() == [False, True]


def test_psnr_equals_that_of_skimage():
    guess, truth = images(4, 3, 8, 8), images(4, 3, 8, 8, seed=1)
    expected = [skimage.peak_signal_noise_ratio(t.numpy(), g.numpy(), data_range=1.0) for g, t in zip(guess, truth, strict=True)]
    torch.testing.assert_close(PSNR()(guess, truth).double(), torch.tensor(expected).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(MSE()(torch.full((1, 2), 0.75), torch.full((1, 2), 0.25)), torch.tensor([0.25]))


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_equals_that_of_torchmetrics(shape):
    from torchmetrics.functional.image import structural_similarity_index_measure  # not above: other tests run without it

    truth = images(3, *shape)
    guess = 0.6 * truth + 0.4 * images(3, *shape, seed=1)
    expected = structural_similarity_index_measure(guess, truth, sigma=1.5, data_range=1.0, reduction="none")
    torch.testing.assert_close(SSIM()(guess, truth), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(12,), (1, 5, 8), (8, 8)])
def test_ssim_refuses_what_is_no_image(shape):
    with pytest.raises(UsageError, match="metric ssim"):
        SSIM()(images(2, *shape), images(2, *shape))


# ---------------------------------------------------------------------------------------------------- affine


def test_the_affine_fit_is_that_of_least_squares():
    guess, truth = images(2, 3, 6, 6), 0.4 + 0.2 * images(2, 3, 6, 6, seed=1)
    fitted = fit(guess, truth)
    for row in range(2):
        for channel in range(3):
            g, t = guess[row, channel].double().flatten(), truth[row, channel].double().flatten()
            a, b = np.polyfit(g.numpy(), t.numpy(), 1)
            torch.testing.assert_close(fitted[row, channel].double().flatten(), a * g + b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("gain", [0.1, -0.5, 3.0])
def test_affine_does_not_see_brightness_and_contrast(gain):
    truth = images(2, 3, 8, 8)
    moved = gain * truth + torch.tensor([0.1, -0.2, 0.3]).reshape(3, 1, 1)
    assert (PSNR()(moved, truth) < 30).all()
    assert (Affine(metric=PSNR())(moved, truth) > 100).all()
    assert (Affine(metric=SSIM())(moved, truth) > 0.999).all()


def test_a_flat_guess_becomes_the_mean_of_the_truth():
    truth = images(2, 3, 8, 8)
    fitted = fit(torch.full_like(truth, 0.3), truth)
    torch.testing.assert_close(fitted, truth.mean((2, 3), keepdim=True).expand_as(truth))


def test_a_fit_is_never_worse_than_the_guess():
    guess, truth = images(5, 3, 8, 8), images(5, 3, 8, 8, seed=1)
    assert (Affine(metric=MSE())(guess, truth) <= MSE()(guess, truth)).all()
    flat = Affine(metric=MSE())(images(5, 12), images(5, 12, seed=1))
    assert flat.shape == (5,)


# ---------------------------------------------------------------------------------------------------- lpips


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_lpips_says_which_weights_to_put_where(hub):
    with pytest.raises(UsageError, match=r"alexnet-owt-7be5be79\.pth") as error:
        LPIPS()(images(1, 3, 32, 32), images(1, 3, 32, 32))
    assert str(hub) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [ImportError, RuntimeError])
def test_lpips_says_which_extra_to_install(hub, monkeypatch, kind):
    (hub / "alexnet-owt-7be5be79.pth").touch()

    def fail(name):
        raise kind(name)

    monkeypatch.setattr(lpips.importlib, "import_module", fail)
    with pytest.raises(MissingExtra, match=r"leakgauge\[lpips\]"):
        LPIPS()(images(1, 3, 32, 32), images(1, 3, 32, 32))


@pytest.mark.parametrize("shape", [(3, 16, 32), (2, 32, 32), (12,)])
def test_lpips_refuses_what_alexnet_cannot_see(hub, monkeypatch, shape):
    (hub / "alexnet-owt-7be5be79.pth").touch()
    monkeypatch.setattr(lpips.importlib, "import_module", lambda name: name)
    with pytest.raises(UsageError, match="metric lpips: got"):
        LPIPS()(images(1, *shape), images(1, *shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_gives_one_score_per_example(hub, monkeypatch, channels):
    """With random features in AlexNet's place: the heads are the published ones, the plumbing is what is tested."""
    torchmetrics_lpips = importlib.import_module("torchmetrics.functional.image.lpips")
    (hub / "alexnet-owt-7be5be79.pth").touch()
    rng = stream(0, "alexnet")

    def features(net, pretrained=False):
        assert (net, pretrained) == ("alexnet", True)
        sizes = [(3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1)]
        convs = []
        for size in sizes:
            with torch.device("meta"):
                conv = torch.nn.Conv2d(*size)
            conv = conv.to_empty(device="cpu")
            with torch.no_grad():
                conv.weight.copy_(0.1 * torch.randn(conv.weight.shape, generator=rng))
                conv.bias.zero_()
            convs.append(conv)
        relu, pool = torch.nn.ReLU, lambda: torch.nn.MaxPool2d(3, 2)
        a, b, c, d, e = convs
        return torch.nn.Sequential(a, relu(), pool(), b, relu(), pool(), c, relu(), d, relu(), e, relu(), pool())

    monkeypatch.setattr(torchmetrics_lpips, "_get_tv_model_features", features)
    monkeypatch.setattr(lpips.importlib, "import_module", lambda name: name)
    state = torch.get_rng_state()
    truth = images(2, channels, 32, 32)
    for n in (1, 2):
        near = LPIPS()(truth[:n], truth[:n])
        far = LPIPS()(images(n, channels, 32, 32, seed=1), truth[:n])
        assert near.shape == far.shape == (n,)
        torch.testing.assert_close(near, torch.zeros(n))
        assert (far > 1e-3).all()
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------------------------------------------- conventions


def test_conventions_against_numbers_by_hand():
    assert conventions.unit(0.01) == pytest.approx(20.0)
    assert conventions.ggl(0.01) == pytest.approx(20 - 6.0206, abs=1e-4)
    assert conventions.dlm(0.01) == pytest.approx(31.49, abs=0.005)
    # an RMSE of 49.97 on 0 to 255: 10 log10(65025 / 49.97) = 31.144, where 20 log10(255 / 49.97) = 14.157
    mse = (49.97 / 255) ** 2
    assert conventions.fedkl(mse) == pytest.approx(31.144, abs=1e-3)
    assert conventions.unit(mse) == pytest.approx(14.157, abs=1e-3)


@pytest.mark.parametrize("convention", [conventions.unit, conventions.dlm, conventions.ggl, conventions.fedkl])
def test_conventions_keep_the_order_and_have_no_upper_end(convention):
    assert convention(0.001) > convention(0.01) > convention(0.1)
    assert convention(0.0) == math.inf


def test_ggl_is_the_psnr_of_images_between_minus_one_and_one():
    guess, truth = images(1, 3, 8, 8), images(1, 3, 8, 8, seed=1)
    wide = float(((2 * guess - 1) - (2 * truth - 1)).square().mean())
    assert conventions.ggl(float(MSE()(guess, truth))) == pytest.approx(10 * math.log10(1 / wide), abs=1e-4)


# ---------------------------------------------------------------------------------------------------- what cannot be scored


@dataclass(frozen=True)
class Unable:
    """A metric that cannot be computed here."""

    error: Exception

    def __call__(self, guess, truth, /):
        raise self.error


def audited(metrics):
    case = sample(FLAT, examples=2)
    scene = Scene(model=case.model, secret=case.batch, public=case.public)
    plan = Plan(client=FedSGD(), threat=SERVER, attack=Analytic(), blind=MeanImage(), metrics=metrics)
    return run(scene, plan).record


def test_a_metric_that_cannot_be_computed_takes_no_other_with_it(tmp_path):
    own, other = UsageError("metric own: got no weights, expected them; fetch them"), OutOfScope("metric other: too small")
    record = audited({"psnr": PSNR(), "own": Unable(own), "again": Affine(metric=Unable(own)), "other": Unable(other)})
    assert record.verdict == audited({"psnr": PSNR()}).verdict
    for trial in record.trials.values():
        assert trial.scores["own"] == trial.scores["again"] == trial.scores["other"] == (None, None)
        assert all(value is not None for value in trial.scores["psnr"])
        assert trial.message == ""
    assert record.diagnosis[-2:] == (
        "Not scored: own, again (metric own: got no weights, expected them; fetch them).",
        "Not scored: other (metric other: too small).",
    )
    rulings = gate([record], Policy(forbid=(), max={"own": 0.5}))
    assert rulings.rulings[0].reasons[-1] == "own was not measured."


def test_a_metric_with_a_fault_is_no_result():
    with pytest.raises(ZeroDivisionError):
        audited({"psnr": PSNR(), "faulty": Unable(ZeroDivisionError())})


def test_lpips_without_its_weights_costs_an_audit_lpips_alone(hub):
    record = audited({"psnr": PSNR(), "lpips": LPIPS()})
    assert record.status == "ok"
    assert record.trials["attack"].scores["lpips"] == (None, None)
    assert record.diagnosis[-1].startswith("Not scored: lpips (metric lpips: ")


@pytest.fixture
def broken(tmp_path):
    """The path to a torchvision that is installed and cannot be imported, as a build for another torch is."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    (tmp_path / "torchvision-0.1.dist-info").mkdir()
    (tmp_path / "torchvision-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1\n")
    return tmp_path


def test_a_broken_torchvision_costs_an_audit_nothing_but_lpips(broken, hub):
    (hub / "alexnet-owt-7be5be79.pth").touch()
    code = """
        import pytest
        with pytest.raises(RuntimeError, match="torchvision::nms"):
            import torchvision
        from test_metrics import LPIPS, MSE, PSNR, SSIM, audited
        record = audited({"psnr": PSNR(), "ssim": SSIM(), "mse": MSE(), "lpips": LPIPS()})
        scores = record.trials["attack"].scores
        print(record.verdict.outcome, [name for name, values in scores.items() if None not in values], record.diagnosis[-1])
    """
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(broken), str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.startswith("leaks ['psnr', 'ssim', 'mse'] Not scored: lpips (metric lpips needs an optional dependency")
