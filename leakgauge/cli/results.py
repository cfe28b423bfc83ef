"""`report`, `log` and `gate`: what to do with results that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[Path, typer.Argument(metavar="DIR", help="A folder with results.", show_default=False)]


def report(
    folder: Results,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE.csv", help="Also write a table with a row per trial and example.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Also write the report as Markdown, without pictures.")
    ] = None,
    redacted: Annotated[
        bool, typer.Option("--redacted", help="Leave out what is private: redacted.html holds every number and no picture.")
    ] = False,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write.", show_default="the folder itself")] = None,
    models: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Also write a page by model: what was tried on each, and what was not.")
    ] = None,
    rescore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Judge by another threshold, margin (dB) or alpha, without a new attack: rescored.html. May be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write report.html and audit.json for all audits in a folder."""
    from leakgauge.cli import screen
    from leakgauge.core.private import write_open, write_private
    from leakgauge.report import audits_of, render_models, to_markdown, write_report
    from leakgauge.results.rescoring import rescoring
    from leakgauge.results.store import Store

    Store(folder).keys()  # told here where there is no such folder
    by = rescoring(rescore) if rescore else None
    screen.say(f"Report: {write_report(folder, to=to, is_redacted=redacted, by=by)}")
    audits = audits_of(folder, is_redacted=redacted, by=by)
    if models is not None:
        (write_open if redacted else write_private)(models, [render_models(audits, is_redacted=redacted).encode()])
        screen.say(f"Models: {models}")
    if markdown is not None:
        markdown.write_text(to_markdown(audits), encoding="utf-8")
        screen.say(f"Markdown: {markdown}")
    if csv is not None:
        from leakgauge.results.table import write_csv

        write_csv([audited.record for audited in audits], csv)
        screen.say(f"Table: {csv}")


def log(
    folder: Results,
    mlflow: Annotated[
        str, typer.Option(metavar="URI", help="A tracking server or database: sqlite:///mlflow.db", show_default=False)
    ],
    experiment: Annotated[str, typer.Option(metavar="NAME", help="The experiment, made if it is not there.")] = "leakgauge",
) -> None:
    """Log all audits in a folder as runs of MLflow, without what is private; those that are there already are passed over."""
    from leakgauge.cli import screen
    from leakgauge.report.tracking import track
    from leakgauge.results.store import Store

    tracked = track(list(Store(folder).records()), mlflow, experiment=experiment)
    screen.say(f"Logged: {tracked.logged} audits, {tracked.there} were there already")


def gate(
    folder: Results,
    policy: Annotated[Path, typer.Option("--policy", "-p", metavar="POLICY.yaml", help="What is accepted.", show_default=False)],
    junit: Annotated[Path | None, typer.Option(metavar="FILE.xml", help="Also write JUnit XML, a test case an audit.")] = None,
    sarif: Annotated[Path | None, typer.Option(metavar="FILE.sarif", help="Also write SARIF 2.1.0, for code scanning.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Also write what the gate says as JSON.")] = None,
) -> None:
    """Hold all audits in a folder against a policy. Exit code 0 if they pass, 1 if one fails, 3 if one is inconclusive."""
    from leakgauge.cli import screen
    from leakgauge.core.errors import UsageError
    from leakgauge.results.gate import gate as judge
    from leakgauge.results.gate import load_policy
    from leakgauge.results.rulings import as_json, as_junit, as_sarif
    from leakgauge.results.store import Store

    rules, store = load_policy(policy), Store(folder)
    if not store.keys():
        raise UsageError(f"{str(folder)!r}: holds no audit, expected at least one; run an audit into this folder first")
    if not rules.model_fields_set:
        screen.say("The policy sets nothing, so the default holds: leaks and partial leaks fail.")
    rulings = judge(store.records(), rules)
    screen.show_rulings(rulings)
    for path, write in ((junit, as_junit), (sarif, as_sarif), (json, as_json)):
        if path is not None:
            path.write_text(write(rulings), encoding="utf-8")
    raise typer.Exit(rulings.exit_code)
