"""YAML in and out, and `a.b=value` overrides.

Plain words are read by the core schema of YAML 1.2, so that `1e-4` is a number, `no` and `2024-01-01` are text; a key that
appears twice is an error. So is a tag, and a document that unfolds to more than anybody writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from leakgauge.core.errors import UsageError
from leakgauge.core.registry import look_in

_PLAIN_WORDS: tuple[tuple[str, str, str], ...] = (  # tag, pattern, first characters
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
)


_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "map", "merge", "null", "seq", "str"))
_MOST = 100_000
"""Entries of a document, aliases written out."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - pyyaml's interface

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _TAGS:
            raise UsageError(f"line {node.start_mark.line + 1}: has the tag {node.tag!r}, expected plain values; leave it out")
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode) or name.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise UsageError(f"line {line}: a key is no text, expected a name; put it in quotes")
            if name.value in seen:
                raise UsageError(f"line {line}: key {name.value!r} appears twice, expected once; delete one of them")
            seen.add(name.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - pyyaml's interface

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Pyyaml folds some Unicode line breaks into spaces unless the text is in double quotes.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isascii() else '"')


_Dumper.add_representer(str, _text)
for _tag, _pattern, _first in _PLAIN_WORDS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), ["" if one == "\0" else one for one in _first]
        )


def read_yaml(text: str, source: str) -> Any:
    """Return what a YAML text says; `source` is named in errors. Raises UsageError with the place of the fault."""
    try:
        return _document(text)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "unknown place"
        raise UsageError(f"{source}: no YAML at {where} ({error.problem or error.context}), expected key: value") from error
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:  # `!!bool maybe` is a KeyError
        raise UsageError(f"{source}: no YAML ({' '.join(str(error).split())}), expected key: value") from error
    except RecursionError as error:
        raise UsageError(f"{source}: no YAML (it is nested too deeply), expected key: value") from error


def _document(text: str) -> Any:
    """The document in a text, once it is known how much it unfolds to."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _entries(node, {})
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def read_mapping(text: str, source: str) -> dict[str, Any]:
    """Return the mapping in a YAML text. Raises UsageError if it holds anything else."""
    document = read_yaml(text, source)
    if not isinstance(document, dict):
        raise UsageError(f"{source}: holds {shown(document)}, expected a mapping such as  attack: dlg")
    return document


def read_file(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file. Raises UsageError if there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{str(path)!r}: cannot be read ({error.strerror}), expected a YAML file; correct the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{str(path)!r}: is no text ({error.reason}), expected a YAML file in UTF-8; correct the path") from error
    look_in(path.parent)
    return read_mapping(text, str(path))


def write_yaml(document: Mapping[str, Any]) -> str:
    """Return YAML that `read_yaml` reads back as it was."""
    return str(yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False))


def override(document: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """Apply one `a.b=value`, the value being YAML. Raises UsageError if it is none or the path leads nowhere."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise UsageError(f"--set: got {assignment!r}, expected key=value, such as  attack.steps=100")
    return put(document, path.strip(), read_yaml(text, f"--set {path.strip()}"))


def put(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return the document with a value put at a dotted path; the name of an algorithm on the way becomes a mapping."""
    changed: dict[str, Any] = _put(document, path.split("."), value, ())
    return changed


def shown(value: object) -> str:
    """A value in an error: one line, not too long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _put(node: Any, path: Sequence[str], value: Any, before: tuple[str, ...]) -> Any:
    if not path:
        return value
    first, *rest = path
    here = ".".join(before)
    if isinstance(node, list):
        if not first.isdecimal() or int(first) > len(node):
            raise UsageError(f"{here}.{first}: no such entry, expected a number from 0 to {len(node)} (which appends)")
        place = int(first)
        old = node[place] if place < len(node) else None
        return [*node[:place], _put(old, rest, value, (*before, first)), *node[place + 1 :]]
    if isinstance(node, str):
        node = {"name": node}
    if node is None:
        node = {}
    if not first or not isinstance(node, Mapping):
        raise UsageError(
            f"{'.'.join((*before, *path))}: cannot be set within {shown(node)}, expected a mapping at {here or 'the top'}"
        )
    return {**node, first: _put(node.get(first), rest, value, (*before, first))}


def _entries(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Count what a document holds, aliases written out. Raises UsageError for one that holds itself, or too much."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if known.get(id(node)) == 0:
        raise UsageError("an alias holds itself, expected a tree; write the part out")
    if id(node) not in known:
        known[id(node)] = 0  # being counted
        parts = (part for pair in node.value for part in pair) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_entries(part, known) for part in parts)
        if known[id(node)] > _MOST:
            raise UsageError(f"unfolds to more than {_MOST:,} entries, expected fewer; write it without aliases")
    return known[id(node)]
