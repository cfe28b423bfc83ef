"""Generators to test with: tiny, of random weights, in files that go with the tests."""

import tempfile
from pathlib import Path

import torch

from leakgauge.core.rng import stream
from leakgauge.generative.generators.deconvolution import Deconvolution, Sizes
from leakgauge.generative.generators.files import save
from leakgauge.generative.generators.fingerprints import fingerprints
from leakgauge.generative.generators.style import Sizes as StyleSizes
from leakgauge.generative.generators.style import Style

_FOLDER = Path(tempfile.gettempdir()) / "leakgauge-test-generators"
"""One for all processes: paths stand in the names of tests, which have to be the same in each."""


def random_weights(sizes, seed=0, size=0.4):
    rng = stream(seed, "generator")
    return {name: size * torch.randn(shape, generator=rng) for name, shape in sizes.tensors().items()}


def deconvolution(latent=6, classes=0, channels=1, side=2, kernel=4, widths=(5, 4), seed=0, learned=None):
    sizes = Sizes(latent, classes, channels, side, kernel, widths)
    known = torch.empty(0, dtype=torch.int64) if learned is None else fingerprints(learned)
    return Deconvolution(sizes, random_weights(sizes, seed), {"data": "nothing"}, known)


def style(latent=6, classes=0, channels=1, side=2, mapping=2, widths=(5, 4, 3), seed=0):
    sizes = StyleSizes(latent, classes, channels, side, mapping, widths)
    return Style(sizes, random_weights(sizes, seed))


def written(generator, name="generator"):
    """The path of a file that holds a generator, as text."""
    _FOLDER.mkdir(exist_ok=True)
    path = _FOLDER / f"{name}.safetensors"
    save(generator, path)
    return str(path)


TINY = written(deconvolution(), "tiny")
"""Images of 1x8x8, as those of `leakgauge.testing`."""
CLASSY = written(deconvolution(classes=4), "classy")
STYLED = written(style(), "styled")
