"""`attack`: from what a client sent, and the name of a network, to a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakgauge.cli.running import INCONCLUSIVE, RESULTS, Device, Out, interruptible
from leakgauge.core.errors import UsageError

if TYPE_CHECKING:
    from leakgauge.captured import Given

Captured = Annotated[Path, typer.Argument(metavar="CAPTURE", help="A capture, or a folder of captures.")]
Network = Annotated[
    str, typer.Option("--model", "-m", help="module:function of your code, torchvision:NAME, timm:NAME or hf:FOLDER.")
]
Weights = Annotated[Path | None, typer.Option(help="Weights that the capture does not hold.", show_default="fresh ones")]
Data = Annotated[
    str | None, typer.Option(help="Other data of the same kind: a folder of images, an .npz, a name.", show_default="none")
]
Shape = Annotated[str | None, typer.Option("--inputs", metavar="C,H,W", help="What the network takes.", show_default="as recorded")]
Numbers = Annotated[
    str | None, typer.Option(metavar="A,B,C", help="Of pixels from 0 to 1, per channel.", show_default="as recorded")
]
Setting = Annotated[str | None, typer.Option(metavar="YAML", help="As in an audit file.", show_default="what fits")]
Threat = Annotated[str | None, typer.Option(help="What the adversary knows.", show_default="server, or weights")]
Examples = Annotated[int | None, typer.Option(min=1, help="How many private examples there are.", show_default="as recorded")]
Rehearsals = Annotated[int, typer.Option(min=1, help="On how many updates of other data the attack is tried.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all chance.")]


def attack(
    captured: Captured,
    model: Network,
    weights: Weights = None,
    data: Data = None,
    inputs: Shape = None,
    mean: Numbers = None,
    std: Numbers = None,
    attack: Setting = None,
    client: Setting = None,
    defenses: Setting = None,
    threat: Threat = None,
    examples: Examples = None,
    rehearsals: Rehearsals = 3,
    seed: Seed = 0,
    out: Out = RESULTS,
    device: Device = "auto",
) -> None:
    """Attack what was captured. With the private examples recorded beside it, a full audit; without them, nothing is judged.

    Code in the current folder is found. Exit code 0 whatever is found, 3 if an audit is inconclusive.
    """
    from leakgauge.capture import find, read
    from leakgauge.captured import attack as attacked
    from leakgauge.captured import data_config, manifest_shape
    from leakgauge.cli import progress, screen
    from leakgauge.core.registry import look_in

    look_in(Path())
    said = spoken(model, weights, inputs, mean, std, client, defenses)
    outcomes = []
    for path in find(captured):
        found = read(path)
        given = replace(
            said,
            data=None if data is None else data_config(data, said.shape or manifest_shape(found.manifest)),
            attack=_config("--attack", attack),
            threat=threat,
            examples=examples,
            rehearsals=rehearsals,
            seed=seed,
            device=device,
        )
        with interruptible(), progress.share(path.name) as hear:
            result = attacked(found, given, tick=hear)
        report = result.save(out)
        screen.show_records([result.record])
        outcomes.append(result.verdict.outcome)
    screen.say(f"Report: {report}")
    if "inconclusive" in outcomes:
        raise typer.Exit(INCONCLUSIVE)


def spoken(
    model: str,
    weights: Path | None,
    inputs: str | None,
    mean: str | None,
    std: str | None,
    client: str | None,
    defenses: str | None,
) -> Given:
    """What the options say of the network and its client."""
    from leakgauge.captured import Given

    return Given(
        model=model,
        weights=None if weights is None else str(weights),
        shape=None if inputs is None else tuple(map(int, _numbers("--inputs", inputs))),
        mean=None if mean is None else _numbers("--mean", mean),
        std=None if std is None else _numbers("--std", std),
        client=_config("--client", client),
        defenses=_list("--defenses", defenses),
    )


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option}: got {text!r}, expected numbers with commas between them, such as  3,32,32") from error


def _list(option: str, text: str | None) -> list[Any] | None:
    found = _config(option, text)
    if found is not None and not isinstance(found, list):
        raise UsageError(f"{option}: got {text!r}, expected a list such as  [{{name: gaussian_noise, sigma: 0.01}}]")
    return found


def _config(option: str, text: str | None) -> Any:
    from leakgauge.core.reading import read_yaml

    return None if text is None else read_yaml(text, option)
