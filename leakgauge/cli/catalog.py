"""`list`, `show` and `schema`: what there is."""

from __future__ import annotations

import inspect
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from leakgauge.core.errors import UsageError, suggestion

if TYPE_CHECKING:
    from leakgauge.core.registry import Entry
    from leakgauge.spec.parameters import Parameter


class Kind(StrEnum):
    """What a schema is of."""

    AUDIT = "audit"
    RECORD = "record"
    REPORT = "report"
    POLICY = "policy"
    CAPTURE = "capture"
    GATE = "gate"


def list_(
    family: Annotated[str | None, typer.Argument(help="Only this family, such as attack; or study.", show_default=False)] = None,
) -> None:
    """List the algorithms, built in and of plugins."""
    from rich.table import Table
    from rich.text import Text

    from leakgauge.cli.screen import Screen
    from leakgauge.core.registry import FAMILIES, entries

    table = Table("Family", "Name", "What it is", "From")
    for one in FAMILIES if family is None else (family,):
        for name, entry in entries(one).items():
            table.add_row(*map(Text, (one, name, _first_line(entry), entry.origin)))
        table.add_section()
    Screen().print(table)


def show(
    name: Annotated[str, typer.Argument(help="A name, such as dlg; attack.idlg or labels.idlg where two families have it.")],
) -> None:
    """Show an algorithm: what it does, its settings with defaults and bounds, and what an attack must be granted."""
    for entry in _named(name):
        _show(entry)


def schema(kind: Annotated[Kind, typer.Option(help="Of what.")] = Kind.AUDIT) -> None:
    """Print the JSON Schema of an audit file, a record, a report (audit.json), a policy, a capture, or what the gate says."""
    typer.echo(json.dumps(_schema(kind), indent=2, ensure_ascii=False))


def _schema(kind: Kind) -> dict[str, Any]:
    match kind:
        case Kind.AUDIT:
            from leakgauge.spec import schema as audit_schema

            return audit_schema()
        case Kind.RECORD:
            from leakgauge.results.folder import record_schema

            return record_schema()
        case Kind.REPORT:
            from leakgauge.report import json_schema

            return json_schema()
        case Kind.POLICY:
            from leakgauge.results.gate import Policy

            return Policy.model_json_schema()
        case Kind.GATE:
            from leakgauge.results.rulings import rulings_schema

            return rulings_schema()
        case Kind.CAPTURE:
            from leakgauge.capture import capture_schema

            return capture_schema()


def _named(name: str) -> list[Entry]:
    from leakgauge.core.registry import FAMILIES, entries

    family, _, short = name.rpartition(".")
    known = {f"{one}.{entry.name}": entry for one in ((family,) if family else FAMILIES) for entry in entries(one).values()}
    found = [entry for entry in known.values() if entry.name == short]
    if not found:
        raise UsageError(f"name: nothing is called {name!r}, {suggestion(short, {entry.name for entry in known.values()})}")
    return found


def _first_line(entry: Entry) -> str:
    from leakgauge.core.registry import STUDY

    try:
        if entry.family == STUDY:
            return str(entry.load().question)
        return (inspect.getdoc(entry.load()) or "").partition("\n")[0]
    except UsageError as error:  # a plugin that cannot be imported hides no other
        return str(error)


def _show(entry: Entry) -> None:
    from rich.table import Table
    from rich.text import Text

    from leakgauge.cli.screen import Screen, say
    from leakgauge.spec.parameters import parameters

    target = entry.load()
    say(Text.assemble((f"{entry.family} {entry.name}", "bold"), f"  {entry.target}, from {entry.origin}"))
    source = inspect.getdoc(inspect.getmodule(target))
    say("\n".join(filter(None, ["", inspect.getdoc(target), "", source, ""])))
    settings = parameters(target)
    if settings:
        table = Table("Setting", "Default", "Type")
        for name, parameter in settings.items():
            table.add_row(*map(Text, (name, _default(parameter), _type(parameter.hint))))
        Screen().print(table)
    needs = _needs(entry, settings)
    if needs is not None:
        say(f"Needs to be granted: {', '.join(needs) or 'nothing'} (as it is set by default)")


def _default(parameter: Parameter) -> str:
    return "required" if parameter.is_required else repr(parameter.default)


def _type(hint: Any) -> str:
    from leakgauge.spec.parameters import family_of, without_none

    args = get_args(hint)
    family, inner = family_of(hint), without_none(hint)
    if family is not None:
        return f"a {family}"
    if inner is not None:
        return f"{_type(inner)} or null"
    if args and hasattr(hint, "__metadata__"):
        return " ".join([_type(args[0]), *map(_bound, hint.__metadata__)])
    if get_origin(hint) is not None and all(isinstance(choice, str) for choice in args):
        return " | ".join(args)
    return hint.__name__ if isinstance(hint, type) and not args else str(hint)


def _bound(bound: Any) -> str:
    import annotated_types as at

    match bound:
        case at.Ge(limit):
            return f">= {limit}"
        case at.Gt(limit):
            return f"> {limit}"
        case at.Le(limit):
            return f"<= {limit}"
        case at.Lt(limit):
            return f"< {limit}"
        case _:
            return str(bound)


def _needs(entry: Entry, settings: dict[str, Parameter]) -> list[str] | None:
    if entry.family not in ("attack", "labels", "replay") or any(parameter.is_required for parameter in settings.values()):
        return None
    from leakgauge.spec.building import build

    return sorted(getattr(build(entry.family, entry.name), "needs", ()))
