"""What the commands that learn from public images share: the images, and progress in lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from leakgauge.core.types import Tick

DataSpec = Annotated[
    str, typer.Argument(metavar="DATA", help="What to learn from: a name such as mnist, or {name: npz, path: FILE.npz}.")
]
Gray = Annotated[bool, typer.Option("--gray", help="Take the luminance of color images.")]
Seed = Annotated[int, typer.Option(help="Which chance.")]


class Public(NamedTuple):
    """Public images [N, c, h, w] in [0, 1], their classes [N], and the name of their data without any path."""

    x: Tensor
    y: Tensor
    classes: int
    name: str


def public_images(data: str, *, more_than: int, is_gray: bool) -> Public:
    """Load the images of a data set. Raises UsageError for what is no image, and for too few of them."""
    from leakgauge.core.errors import UsageError
    from leakgauge.core.reading import read_yaml
    from leakgauge.generative.flows.patches import luminance
    from leakgauge.spec import build, describe

    chosen = build("data", read_yaml(data, "data"))
    pool = chosen.load()
    x = pool.x
    if x.ndim != 4 or len(x) <= more_than:
        raise UsageError(f"data: has {len(x)} examples of shape {tuple(x.shape[1:])}, expected more than {more_than} images")
    config = describe("data", chosen)
    name = Path(config.get("path", config["name"])).stem
    return Public(luminance(x) if is_gray else x, pool.y, pool.inputs.classes, name)


def lines(steps: int) -> Tick:
    """Tell every tenth of the way on stderr."""
    from leakgauge.cli.screen import say

    def tell(share: float) -> None:
        done = round(share * steps)
        if 10 * done // steps > 10 * (done - 1) // steps:
            say(f"step {done} of {steps}", to_stderr=True)

    return tell
