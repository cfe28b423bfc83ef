"""`example`: files to start from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from leakgauge.cli.running import EXAMPLES
from leakgauge.core.errors import UsageError, one_line, suggestion

Named = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which; without a name, they are listed.", show_default=False)]
Target = Annotated[Path | None, typer.Argument(help="Where to.", show_default="its name, in this folder")]


def example(name: Named = None, to: Target = None) -> None:
    """Write an example to start from: the file of an audit, a sweep or a frontier, or an app for Flower. Nothing is overwritten."""
    from leakgauge.cli import screen

    there = {path.stem: path for path in sorted(EXAMPLES.iterdir()) if not path.name.startswith(("_", "."))}
    if name is None:
        screen.say("\n".join(there))
        return
    if name not in there:
        raise UsageError(f"example: got {name!r}, {suggestion(name, there)}")
    source = there[name]
    target = Path(source.name) if to is None else to
    if target.exists():
        raise UsageError(f"example: {str(target)!r} is there already, expected a new name; give one, or move it away")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise UsageError(f"example: {str(target)!r} cannot be written ({one_line(error)}); choose another place") from error
    screen.say(f"Written: {target}")
