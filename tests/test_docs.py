"""The documents are true: what they show runs, what they name is there, and what is there is named."""

import ast
import dataclasses
import importlib.util
import inspect
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
import typer

import leakgauge as lg
from leakgauge import spec
from leakgauge.auditing import pipeline
from leakgauge.auditing.plan import Criteria
from leakgauge.auditing.record import Record, Trial
from leakgauge.auditing.rounds import Rounds
from leakgauge.auditing.training import Training
from leakgauge.cli import app
from leakgauge.core import registry
from leakgauge.core.capabilities import NAMED
from leakgauge.core.reading import read_yaml
from leakgauge.core.types import Capability
from leakgauge.frontier import document as frontier
from leakgauge.results.gate import Policy, load_policy
from leakgauge.spec import DEFAULTS, Draw, Parts, Recorded, federating, sweep

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCES = {
    "bash",
    "python",
    "python plugin",
    "python plugin test",
    "sh",
    "toml",
    "yaml audit",
    "yaml federation",
    "yaml frontier",
    "yaml plugin",
    "yaml policy",
    "yaml sweep",
}
COMMANDS = {
    f"{name} {inner}".strip(): one
    for name, command in typer.main.get_command(app).commands.items()
    for inner, one in getattr(command, "commands", {"": command}).items()
}


ELSEWHERE = ("pip", "unzip")
"""Programs that work on files which are not of this project."""


class Block(NamedTuple):
    """A fenced block of a document; printed as where it stands."""

    document: str
    line: int
    info: str
    text: str

    def __str__(self):
        return f"{self.document}:{self.line}"


def blocks_of(document):
    text = document.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(.+?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(str(document.relative_to(ROOT)), text.count("\n", 0, found.start()) + 1, found[1], found[2])


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def blocks(info):
    found = [block for block in BLOCKS if block.info == info]
    assert found, f"no document has a block of {info}"
    return found


def only(info):
    (block,) = blocks(info)
    return block


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def rows_of(name):
    """The tables of a document: the first cell, without its backticks, to the other cells, for rows of one name."""
    rows = (line.strip("| ").split(" | ") for line in text_of(name).splitlines() if line.startswith("| `"))
    return [(re.findall(r"`([^`]+)`", first), rest) for first, *rest in rows]


def named_in(name):
    return {one for names, _ in rows_of(name) for one in names}


@pytest.fixture
def generate():
    """docs/generate.py, which is no part of the package."""
    where = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(where)
    where.loader.exec_module(module)
    return module


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The plugin of the architecture page, as a file on the path."""
    (tmp_path / "leakgauge_shy.py").write_text(only("python plugin").text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("leakgauge_shy")
    del sys.modules["leakgauge_shy"]


def test_every_block_says_what_it_is():
    assert {block.info for block in BLOCKS} == FENCES
    assert sum(document.read_text(encoding="utf-8").count("\n```") for document in DOCUMENTS) == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_example_runs_and_prints_what_it_says(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType("example")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "example", module)
    with torch.random.fork_rng():
        exec(compile("\n" * block.line + block.text, block.document, "exec"), module.__dict__)
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"^# → (.*)$", block.text, re.MULTILINE)


@pytest.mark.parametrize("block", blocks("yaml audit"), ids=str)
def test_every_audit_file_is_one(block):
    made = spec.loads(block.text)
    assert spec.key(spec.parse(spec.canonical(made))) == spec.key(made)


@pytest.mark.parametrize("block", blocks("yaml sweep"), ids=str)
def test_every_sweep_file_is_one(block, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(block.text, encoding="utf-8")
    assert len(sweep.load(path).specs) > 1


@pytest.mark.parametrize("block", blocks("yaml federation"), ids=str)
def test_a_federation_file_makes_a_federation(block):
    assert federating.parse(read_yaml(block.text, "docs")).rounds


@pytest.mark.parametrize("block", blocks("yaml frontier"), ids=str)
def test_a_frontier_file_makes_options(block):
    assert frontier.parse(read_yaml(block.text, "docs")).options


@pytest.mark.parametrize("block", blocks("yaml policy"), ids=str)
def test_every_policy_file_is_one(block, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(block.text, encoding="utf-8")
    assert load_policy(path) != Policy()


def test_the_plugin_of_the_page_passes_the_checks_that_the_page_makes(plugin):
    exec(only("python plugin test").text, dict(vars(plugin)))


def test_the_plugin_of_the_page_runs_from_a_file(plugin):
    outcome = pipeline.run(*spec.prepare(spec.loads(only("yaml plugin").text)))
    attack = outcome.record.trials["attack"]
    assert attack.attack == "Stripes(width=1)"
    assert attack.status == "ok"
    assert set(attack.scores) == {"psnr", "worst"}
    assert outcome.record.setting.defenses == ("Fading(keep=0.1)",)


def test_the_entry_points_of_the_page_are_those_of_its_plugin(plugin):
    groups = tomllib.loads(only("toml").text)["project"]["entry-points"]
    for group, points in groups.items():
        assert group.removeprefix("leakgauge.") in registry.FAMILIES
        for target in points.values():
            module, _, name = target.partition(":")
            assert (module, hasattr(plugin, name)) == ("leakgauge_shy", True)


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_every_shell_line_names_what_there_is(block):
    lines = [shlex.split(line, comments=True) for line in block.text.splitlines()]
    targets = re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE)
    for program, *arguments in filter(None, lines):
        if program == "make":
            assert arguments[0] in targets
        elif program == "leakgauge":
            command = next(one for one in (arguments[0], " ".join(arguments[:2])) if one in COMMANDS)
            options = {name for parameter in COMMANDS[command].params for name in parameter.opts}
            assert {one for one in arguments if one.startswith("-")} <= options
        else:
            files = [one for one in arguments if "/" in one]
            assert program in ("python", ".venv/bin/pytest", ".venv/bin/ruff", *ELSEWHERE)
            assert program in ELSEWHERE or all((ROOT / file).exists() for file in files)


@pytest.mark.parametrize("name", sorted({"README.md", "docs/catalog.md", "docs/command-line.md", "docs/studies/README.md"}))
def test_what_is_generated_is_up_to_date(generate, name):
    assert name in {document for document, _ in generate.PARTS.values()}
    assert text_of(name) == generate.brought_up_to_date(text_of(name)), "run python docs/generate.py"


def test_the_catalog_has_every_algorithm_and_every_setting():
    text = text_of("docs/catalog.md")
    for family in registry.FAMILIES:
        for name, entry in registry.entries(family).items():
            _, _, section = text.partition(f"### {family} {name}\n")
            section = re.split(r"^##", section, flags=re.MULTILINE)[0]
            assert section.strip(), f"{family} {name} is missing: run python docs/generate.py"
            rows = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
            assert rows == set(inspect.signature(entry.load()).parameters)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name):
    _, _, section = text_of("docs/command-line.md").partition(f"## leakgauge {name}\n")
    section = section.partition("\n## ")[0]
    assert section
    for parameter in COMMANDS[name].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert f"`{option}`" in section


def test_every_key_of_the_three_files_is_documented():
    fields = {one.name for cls in (Parts, Draw, Recorded, Training, Rounds, Criteria) for one in dataclasses.fields(cls)}
    policy = set(Policy.model_fields)
    assert named_in("docs/files.md") == fields | {"name"} | set(sweep._KEYS) | policy


def test_the_defaults_of_the_files_are_those_of_the_code():
    told = {names[0]: rest[0] for names, rest in rows_of("docs/files.md")}
    for cls in (Training, Rounds, Criteria):
        for one in dataclasses.fields(cls):
            assert float(told[one.name]) == one.default, one.name
    assert (told["seed"], told["client"], told["threat"]) == (str(DEFAULTS["seed"]), "`fedsgd`", "`server`")
    assert (DEFAULTS["client"], DEFAULTS["threat"]) == ("fedsgd", "server")
    assert {name for name, default in told.items() if default == "required"} - {"base"} == {
        *("data", "batch", "victim", "attack"),
        *("before", "after"),  # of an update
    }
    assert int(told["at_least"]) == Policy().at_least


def test_every_field_of_a_record_is_documented():
    rows = named_in("docs/results.md")
    assert {one.name for one in dataclasses.fields(Record)} <= rows
    (trials,) = [rest[0] for names, rest in rows_of("docs/results.md") if names == ["trials"]]
    assert {one.name for one in dataclasses.fields(Trial)} <= set(re.findall(r"\w+", trials))


def test_the_threat_models_are_those_of_the_code():
    rows = rows_of("docs/threats.md")
    assert {names[0] for names, _ in rows} == set(Capability) | set(NAMED)
    header = next(line for line in text_of("README.md").splitlines() if line.startswith("| Threat model"))
    columns = re.findall(r"`(\w+)`", header)
    assert set(columns) == set(Capability)
    for name, threat in NAMED.items():
        line = next(line for line in text_of("README.md").splitlines() if line.startswith(f"| `{name}`"))
        marks = [cell.strip() for cell in line.split("|")[2:-1]]
        assert {column for column, mark in zip(columns, marks, strict=True) if mark} == threat.grants


def test_the_readme_names_all_data():
    assert set(registry.entries("data")) <= named_in("README.md")


def test_every_exported_name_is_documented():
    assert set(lg.__all__) <= named_in("docs/architecture.md")
    for name in lg.__all__:
        assert inspect.getdoc(getattr(lg, name))


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document):
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_every_algorithm_says_in_one_sentence_what_it_does(family):
    for entry in registry.entries(family).values():
        first = (inspect.getdoc(entry.load()) or "").partition("\n")[0]
        assert re.fullmatch(r"[A-Z`0-9].*[.;]", first), f"{family} {entry.name}: {first!r}"


def test_every_module_says_what_it_is():
    for path in (ROOT / "leakgauge").rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_the_spelling_is_american():
    british = re.compile(r"\w*(?:defence|colour|grey|normalis|minimis|maximis|optimis|behaviour|licence|neighbour|centre)\w*", re.I)
    sources = [path for folder in ("leakgauge", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    for path in [*DOCUMENTS, *sources]:
        assert not (found := british.findall(path.read_text(encoding="utf-8"))), f"{path.name}: {found}"


def test_no_document_names_a_place_of_one_machine():
    for document in DOCUMENTS:
        assert not re.search(r"(?<![\w.])/(?:work|home|root|tmp|Users)/", document.read_text(encoding="utf-8"))
