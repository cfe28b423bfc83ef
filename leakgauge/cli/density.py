"""`density`: fit a flow to public images, for the prior `flow`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leakgauge.cli.learning import DataSpec, Gray, Seed

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FILE.safetensors", help="Where the flow is written.")]
Steps = Annotated[int, typer.Option(min=1, help="How many steps of 512 patches each.")]
Smoothing = Annotated[float, typer.Option(min=0.0, help="Standard deviation of the noise on the images, in pixels from 0 to 1.")]
HeldOut = Annotated[int, typer.Option(min=1, help="How many images to measure on and not to learn from.")]


def density(
    data: DataSpec,
    out: Out,
    is_gray: Gray = False,
    steps: Steps = 6_000,
    smoothing: Smoothing = 0.02,
    held_out: HeldOut = 5_000,
    seed: Seed = 0,
) -> None:
    """Fit a normalizing flow to the patches of public images, and write what the prior flow takes as its weights.

    The images that it learns from are known to whoever uses it: no private example may be among them. The file holds weights, bits
    per dimension on images that were held out, and the name of the data; no image.
    """
    from dataclasses import replace
    from importlib.metadata import version

    from leakgauge.cli.learning import lines, public_images
    from leakgauge.cli.screen import say
    from leakgauge.core.rng import stream
    from leakgauge.generative.flows.files import save
    from leakgauge.generative.flows.fitting import Fitting, bits_per_dimension, fit
    from leakgauge.generative.flows.patches import split

    x, _, _, name = public_images(data, more_than=held_out, is_gray=is_gray)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost
    learned, held = split(x, held_out, rng=stream(seed, "split"))
    fitting = Fitting(steps=steps, smoothing=smoothing)
    flow = fit(learned, fitting, rng=stream(seed, "fit"), tick=lines(steps))
    bits = {
        f"bits per dimension, {kind}": f"{bits_per_dimension(flow, part, smoothing=smoothing, rng=stream(seed, 'bits')):.3f}"
        for kind, part in (("learned from", learned), ("held out", held))
    }
    how = {
        "data": name,
        "gray": str(is_gray),
        "images": str(len(learned)),
        "steps": str(steps),
        "smoothing": str(smoothing),
        "seed": str(seed),
    }
    save(replace(flow, made={**how, **bits, "leakgauge": version("leakgauge")}), out)
    for told, value in bits.items():
        say(f"{told.capitalize()}: {value}")
    say(f"Flow: {out}")
