"""`prior`: train generators on public images, convert those of others, and look at them, for the space `latent`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakgauge.cli.learning import DataSpec, Gray, Seed

if TYPE_CHECKING:
    from torch import Tensor

    from leakgauge.cli.learning import Public
    from leakgauge.generative.generators.generator import Generator
    from leakgauge.generative.generators.training.loop import Progress, Training

prior = typer.Typer(help="Train, convert and show generators of images, for the space latent.", no_args_is_help=True)


class Method(StrEnum):
    """How a generator is trained."""

    AUTOENCODER = "autoencoder"
    WGAN = "wgan"


Out = Annotated[Path, typer.Option("--out", "-o", metavar="FILE.safetensors", help="Where the generator is written.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change a setting of the training, such as steps=100.")
]
Conditional = Annotated[bool, typer.Option("--conditional", help="Make images of a class that is asked for.")]
Mirrored = Annotated[bool, typer.Option("--mirrored", help="Show every other image from left to right; not for digits.")]
HeldOut = Annotated[int, typer.Option(min=2, help="How many images to measure on and not to learn from.")]
Every = Annotated[int, typer.Option(min=1, help="After how many steps a checkpoint and a sheet of samples are written.")]
Sheet = Annotated[Path | None, typer.Option("--sheet", metavar="FILE.png", help="Where a sheet of samples is written.")]
_SAMPLES = 64


@prior.command()
def train(
    data: DataSpec,
    out: Out,
    method: Annotated[Method, typer.Option(help="How.")] = Method.AUTOENCODER,
    settings: Settings = None,
    is_conditional: Conditional = False,
    is_mirrored: Mirrored = False,
    is_gray: Gray = False,
    held_out: HeldOut = 1_000,
    every: Every = 500,
    seed: Seed = 0,
) -> None:
    """Train a generator on public images; the same command goes on from its checkpoint, FILE.checkpoint, until it is done.

    The images are known to whoever uses the generator: no private example may be among them. The file holds weights, how they came
    about, and their quality on images that were held out; no image. The settings of a training, with their defaults, are
    those of its class (see docs/generators.md).
    """
    from dataclasses import replace
    from importlib.metadata import version

    from leakgauge.cli.learning import public_images
    from leakgauge.cli.screen import say
    from leakgauge.core.rng import stream
    from leakgauge.generative.flows.patches import split_rows
    from leakgauge.generative.generators.files import save
    from leakgauge.generative.generators.fingerprints import fingerprints
    from leakgauge.generative.generators.training.loop import train as run
    from leakgauge.generative.generators.training.state import Minibatches

    training = _training(method, settings or ())
    public = public_images(data, more_than=held_out, is_gray=is_gray)
    learned, held = split_rows(len(public.x), held_out, rng=stream(seed, "split"))
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost
    checkpoint, sheet = out.with_suffix(".checkpoint"), out.with_suffix(".png")
    classes = public.classes if is_conditional else 0
    minibatches = Minibatches(public.x[learned], public.y[learned], classes, is_mirrored)
    generator = run(training, minibatches, seed=seed, checkpoint=checkpoint, every=every, hear=lambda now: _tell(now, sheet))
    quality = _quality(generator, public, held, seed)
    made = {
        "data": public.name,
        "gray": str(is_gray),
        "images": str(len(learned)),
        "training": repr(training),
        "mirrored": str(is_mirrored),
        "seed": str(seed),
        "leakgauge": version("leakgauge"),
        **quality,
    }
    save(replace(generator, made=made, learned=fingerprints(minibatches.x)), out)
    checkpoint.unlink(missing_ok=True)
    for told, value in quality.items():
        say(f"{told.capitalize()}: {value}")
    say(f"Generator: {out}")


@prior.command()
def show(
    generator: Annotated[str, typer.Argument(help="A generator that comes along, such as color, or a file.")],
    sheet: Sheet = None,
    seed: Seed = 0,
) -> None:
    """Show what a generator is and how it came about, and with --sheet, images that it makes."""
    from leakgauge.cli.screen import say

    found = _found(generator)
    say(f"Images: {' x '.join(map(str, found.shape))}, of codes of {found.latent} numbers")
    say(f"Classes: {found.classes or 'none'}")
    say(f"Blocks: {found.blocks}")
    for told, value in found.made.items():
        say(f"{told.capitalize()}: {value}")
    if sheet is not None:
        _write_sheet(found, sheet, seed)
        say(f"Samples: {sheet}")


@prior.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The checkpoint of a DCGAN, as torch.save writes it.")],
    out: Out,
    classes: Annotated[int, typer.Option(min=0, help="How many of the numbers that it takes, the last, are its classes.")] = 0,
    sheet: Sheet = None,
    seed: Seed = 0,
) -> None:
    """Make a generator of the checkpoint of another package. Nothing in the checkpoint is run."""
    from leakgauge.cli.screen import say
    from leakgauge.generative.generators.converting import convert as read
    from leakgauge.generative.generators.files import save

    found = read(source, classes=classes, made={"converted from": source.name})
    out.parent.mkdir(parents=True, exist_ok=True)
    save(found, out)
    if sheet is not None:
        _write_sheet(found, sheet, seed)
    say(f"Generator: {out}")


def _training(method: Method, settings: list[str] | tuple[str, ...]) -> Training:
    from leakgauge.core.reading import override
    from leakgauge.generative.generators.training.autoencoder import AutoEncoder
    from leakgauge.generative.generators.training.wgan import WGAN
    from leakgauge.spec.building import resolve

    chosen: dict[str, Any] = {}
    for assignment in settings:
        chosen = override(chosen, assignment)
    kinds: dict[Method, type] = {Method.AUTOENCODER: AutoEncoder, Method.WGAN: WGAN}
    training: Training = resolve(kinds[method], chosen, "").value
    return training


def _tell(now: Progress, sheet: Path) -> None:
    """Tell how a training goes on stderr, and write a sheet of samples."""
    from leakgauge.cli.screen import say

    numbers = ", ".join(f"{name} {value:.4g}" for name, value in now.told.items())
    say(f"step {now.step} of {now.steps}: {numbers}", to_stderr=True)
    _write_sheet(now.generator(), sheet, 0)


def _write_sheet(generator: Generator, sheet: Path, seed: int) -> None:
    from leakgauge.generative.generators.generator import samples
    from leakgauge.generative.generators.training.sheets import save

    save(samples(generator, _SAMPLES, seed=seed), sheet)


def _quality(generator: Generator, public: Public, held: Tensor, seed: int) -> dict[str, str]:
    """Figures on images that were held out, each beside what it is to be read against."""
    from torch.nn.functional import one_hot

    from leakgauge.generative.generators.generator import samples
    from leakgauge.generative.generators.training.quality import fits, frechet, psnr

    x = public.x[held]
    half = len(x) // 2
    few = held[:_SAMPLES]
    labels = one_hot(public.y[few], generator.classes).float() if generator.classes else None
    return {
        "Fréchet distance of samples to held-out images": f"{frechet(samples(generator, half, seed=seed), x[:half]):.2f}",
        "of other held-out images": f"{frechet(x[half : 2 * half], x[:half]):.2f}",
        "nearest images to held-out ones": f"{fits(generator, public.x[few], labels).mean():.2f} dB",
        "their mean image": f"{psnr(public.x[few].mean(dim=0, keepdim=True), public.x[few]).mean():.2f} dB",
    }


def _found(generator: str) -> Generator:
    from leakgauge.generative.generators.files import find, load

    return load("generator", find("generator", generator))
