"""The command line: one verb, one function. What is heavy is imported by the verb that needs it.

Exit codes: 0 done (or the gate passed), 1 the gate or a claim of a study failed, 2 bad input, 3 inconclusive, 4 a crash of
leakgauge itself, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, final

import typer

from leakgauge.cli.attacking import attack
from leakgauge.cli.catalog import list_, schema, show
from leakgauge.cli.density import density
from leakgauge.cli.encoding import tolerate
from leakgauge.cli.examining import doctor
from leakgauge.cli.examples import example
from leakgauge.cli.federating import federate
from leakgauge.cli.frontier import frontier
from leakgauge.cli.prior import prior
from leakgauge.cli.results import gate, log, report
from leakgauge.cli.running import audit, sweep
from leakgauge.cli.studying import study
from leakgauge.cli.tuning import tune
from leakgauge.core.errors import UsageError
from leakgauge.core.printable import line, printable
from leakgauge.core.registry import NO_CODE

CRASH = 4

app = typer.Typer(
    help="Measures how much private training data leaks from what a federated-learning client sends, and what stops it.",
    epilog="Exit codes: 0 done or passed, 1 gate or claim failed, 2 bad input, 3 inconclusive, 4 crash, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(audit)
app.command()(sweep)
app.command()(attack)
app.command()(study)
app.command()(federate)
app.command()(frontier)
app.command()(tune)
app.command()(report)
app.command()(log)
app.command()(gate)
app.command("list")(list_)
app.command()(show)
app.command()(schema)
app.command()(density)
app.add_typer(prior, name="prior")
app.command()(example)
app.command()(doctor)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"leakgauge {version('leakgauge')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
    no_code: Annotated[
        bool, typer.Option("--no-code", help=f"Refuse code that a file or an option names, as {NO_CODE}=1 does.")
    ] = False,
) -> None:
    if no_code:
        os.environ[NO_CODE] = "1"  # workers are told as well


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends in SystemExit with one of the exit codes above."""
    tolerate()
    _warn()
    try:
        app(args=arguments, prog_name="leakgauge")
    except UsageError as error:
        typer.echo(f"error: {line(str(error))}", err=True)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder without leave to write: told well enough by the system
        typer.echo(f"error: {line(str(error))}", err=True)
        sys.exit(2)
    except Exception:  # noqa: BLE001  whatever it is, exit code 1 would read as a gate that failed
        typer.echo(printable(traceback.format_exc()), err=True)
        typer.echo("error: this is a fault of leakgauge; please report it with the lines above", err=True)
        sys.exit(CRASH)


def _warn() -> None:
    """Warnings of leakgauge go to stderr, as text."""
    logger = logging.getLogger("leakgauge")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Printable())
        logger.addHandler(handler)


@final
class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
