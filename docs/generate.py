"""Writes the parts of the documents that the code knows best: the catalog, the command line, and the README's list of names.

    python docs/generate.py            # after an algorithm, a setting or an option has changed

What stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced; a test compares it.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from leakgauge.attacks.matching import Matching
from leakgauge.cli import app
from leakgauge.core import protocols, registry
from leakgauge.spec import build, describe, schema

ROOT = Path(__file__).resolve().parent.parent
_PART = re.compile(r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def catalog() -> str:
    """Every built-in algorithm by family, with its settings."""
    return "\n".join(line for family in registry.FAMILIES for line in _family(family))


def names() -> str:
    """The names of all built-in algorithms, a row per family."""
    rows = (
        f"| {_family_link(family, 'docs/catalog.md')} | {_first_line(_protocol(family))} | "
        f"{', '.join(f'`{entry.name}`' for entry in _own(family))} |\n"
        for family in registry.FAMILIES
    )
    return f"| Family | What it does | Names |\n| --- | --- | --- |\n{''.join(rows)}"


def attacks() -> str:
    """The attacks that are compositions, by their parts: what each takes for p(u given x) and for p(x)."""
    parts = ("likelihood", "priors", "space", "replay", "labels", "search")
    found = {entry.name: entry.load() for entry in _own("attack")}
    recipes = {name: made for name, made in ((name, _composed(one)) for name, one in found.items()) if made is not None}
    rows = (f"| `{name}` | {' | '.join(_part(made[part]) for part in parts)} |\n" for name, made in recipes.items())
    return f"| Attack | {' | '.join(part.capitalize() for part in parts)} |\n|{' --- |' * 7}\n{''.join(rows)}"


def _composed(target: Callable[..., Any]) -> Mapping[str, Any] | None:
    """The parts of a recipe's composition, also where it is wrapped in another attack; None for what is no composition."""
    if any(one.default is inspect.Parameter.empty for one in inspect.signature(target).parameters.values()):
        return None
    made = target()
    inner = getattr(made, "attack", made)
    return describe("attack", inner) if isinstance(inner, Matching) else None


def _part(described: Any) -> str:
    if isinstance(described, list):
        return ", ".join(_part(one) for one in described) or "flat"
    return f"`{described['name'] if isinstance(described, Mapping) else described}`"


def commands() -> str:
    """Every command with its arguments and options."""
    return "\n".join(line for name, command in _commands().items() for line in _command(name, command))


def studies() -> str:
    """The built-in studies with their questions, and what a full run of each found."""
    found = [entry for entry in registry.entries(registry.STUDY).values() if entry.target.startswith("leakgauge.")]
    rows = (f"| `{entry.name}` | {entry.load().question} | {_recorded(entry.name)} |\n" for entry in found)
    return f"| Study | Question | Full run |\n| --- | --- | --- |\n{''.join(rows)}"


def _recorded(name: str) -> str:
    return f"[{name}.md]({name}.md)" if (ROOT / "docs" / "studies" / f"{name}.md").is_file() else "not recorded yet"


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "attacks": ("docs/architecture.md", attacks),
    "catalog": ("docs/catalog.md", catalog),
    "commands": ("docs/command-line.md", commands),
    "names": ("README.md", names),
    "studies": ("docs/studies/README.md", studies),
}
"""Name of a generated part to the document it stands in and the function that makes it."""


def brought_up_to_date(text: str) -> str:
    """Return a document with all its generated parts made anew."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]][1]().strip()}\n\n{part[3]}", text)


def _family(family: str) -> Iterator[str]:
    definitions = schema()["$defs"]
    yield f"## {family}\n"
    yield f"{_first_line(_protocol(family))}\n"
    settings = {one["title"]: one for one in definitions[family]["anyOf"] if "title" in one}
    for entry in _own(family):
        target = entry.load()
        yield f"### {family} {entry.name}\n"
        yield f"{_first_line(target)}  "
        yield f"*{_first_line(inspect.getmodule(target))}*\n"
        needs = _needs(entry, settings[entry.name])
        if needs is not None:
            yield f"Needs, as it is set by default: {needs}.\n"
        yield from _settings(settings[entry.name])


def _settings(one: Mapping[str, Any]) -> Iterator[str]:
    found = {name: value for name, value in one["properties"].items() if name != "name"}
    if found:
        yield "| Setting | Default | Type |\n| --- | --- | --- |"
        for name, value in found.items():
            yield f"| `{name}` | {_default(value)} | {_kind(value)} |"
        yield ""


def _default(value: Mapping[str, Any]) -> str:
    if "default" not in value:
        return "required"
    family = value.get("$ref", "").rpartition("/")[2]
    config = value["default"]
    if isinstance(config, list):
        return ", ".join(f"`{json.dumps(one)}`" for one in config) or "none"
    if family and config == describe(family, build(family, config["name"])):
        return f"`{config['name']}`"
    return f"`{config if isinstance(config, str) else json.dumps(config)}`"


def _kind(value: Mapping[str, Any]) -> str:
    """An annotation, as its JSON Schema says it, in words."""
    match value:
        case {"$ref": ref}:
            return _family_link(ref.rpartition("/")[2])
        case {"anyOf": choices}:
            return " or ".join("null" if choice == {"type": "null"} else _kind(choice) for choice in choices)
        case {"enum": choices}:
            return ", ".join(f"`{choice}`" for choice in choices)
        case {"const": only}:
            return f"`{only}`"
        case {"type": "array", "items": item}:
            return f"list of {_kind(item)}"
        case {"type": "object", "properties": inner}:
            fields = (f"`{name}` ({_kind(one)}, default {_default(one)})" for name, one in inner.items())
            return f"mapping of {', '.join(fields)}"
        case {"type": kind}:
            bounds = (f" {sign} {value[name]:g}" for name, sign in _BOUNDS.items() if name in value)
            return _WORDS.get(kind, kind) + ",".join(bounds)
        case _:
            raise ValueError(f"no words for {value}")


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_WORDS = {"boolean": "true or false", "string": "text"}


def _needs(entry: registry.Entry, one: Mapping[str, Any]) -> str | None:
    if entry.family not in ("attack", "labels", "replay") or one["required"] != ["name"]:
        return None
    return ", ".join(f"`{need}`" for need in sorted(build(entry.family, entry.name).needs)) or "nothing"


def _own(family: str) -> list[registry.Entry]:
    return [entry for entry in registry.entries(family).values() if entry.target.startswith("leakgauge.")]


def _protocol(family: str) -> Any:
    return getattr(protocols, registry.FAMILIES[family])


def _family_link(family: str, document: str = "") -> str:
    return f"[{family}]({document}#{family})" if family in registry.FAMILIES else family


def _commands() -> Mapping[str, Any]:
    """All commands by name, those of groups under the name of both."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {one}": part for one, part in inner.items()}
    return found


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = " ".join(["leakgauge", name, *(["[OPTIONS]"] if options else []), *map(_shown_argument, arguments)])
    yield f"## leakgauge {name}\n"
    yield f"    {usage}\n"
    yield f"{inspect.cleandoc(command.help)}\n"
    if options:
        yield "| Option | Default | What it does |\n| --- | --- | --- |"
        for option in options:
            spelled = ", ".join(f"`{one}`" for one in option.opts)
            value = option.metavar or ", ".join(getattr(option.type, "choices", ())) or option.type.name.upper()
            yield f"| {spelled} {value} | {_option_default(option)} | {option.help} |"
        yield ""


def _shown_argument(argument: Any) -> str:
    if argument.metavar:
        return str(argument.metavar)
    return argument.name.upper() if argument.required else f"[{argument.name.upper()}]"


def _option_default(option: Any) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    return "" if option.default is None else f"`{option.default}`"


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0].replace("|", "\\|")


def main() -> None:
    """Rewrite the documents that hold a generated part."""
    for document in sorted({document for document, _ in PARTS.values()}):
        path = ROOT / document
        path.write_text(brought_up_to_date(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
