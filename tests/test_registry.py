"""Names: built-in and plugged-in algorithms, and what is said when a plugin is at fault."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from plugin.installing import install

from leakgauge.core import algorithm, protocols, registry
from leakgauge.core.errors import UsageError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function that installs a plugin, for this test alone."""
    before = set(sys.modules)

    def installed(name, folder="site"):
        install(name, tmp_path / folder)
        monkeypatch.syspath_prepend(tmp_path / folder)
        registry._scan.cache_clear()

    yield installed
    registry._scan.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("leakgauge_"):
            del sys.modules[name]


def python(code, *path):
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(map(str, path))}, text=True, capture_output=True, check=False
    )


def test_every_family_has_its_protocol():
    for protocol in registry.FAMILIES.values():
        assert protocol in protocols.__all__


def test_what_pyproject_declares_is_what_is_listed():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared.pop("pytest11") == {"leakgauge": "leakgauge.pytest_plugin"}  # which is pytest's to list
    listed = {
        family: {e.name: e.target for e in registry.entries(family).values()} for family in (*registry.FAMILIES, registry.STUDY)
    }
    assert {group.removeprefix("leakgauge."): points for group, points in declared.items()} == listed


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_every_listed_algorithm_loads_and_knows_its_name(family):
    entries = registry.entries(family)
    assert list(entries) == sorted(entries)
    for name, entry in entries.items():
        target = registry.find(family, name)
        assert callable(target)
        assert registry.find(family, entry.target) is target
        assert registry.name_of(family, target) == name


def test_listing_imports_no_algorithm_and_no_torch():
    done = python(
        "import sys\nfrom leakgauge.core import registry\n"
        "print(sum(len(registry.entries(family)) for family in registry.FAMILIES))\n"
        "print([name for name in sys.modules if name.startswith(('torch', 'leakgauge.attacks', 'leakgauge.core.protocols'))])",
        ROOT,
    )
    count, imported = done.stdout.splitlines()
    assert int(count) > 50
    assert imported == "[]"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fedsdg", "client.name: no client is called 'fedsdg', did you mean 'fedsgd'?"),
        ("zzz", "client.name: no client is called 'zzz', known: fedavg, fedsgd"),
        (
            "no_such_module:Client",
            "client.name: 'no_such_module:Client': cannot be imported (ModuleNotFoundError: No module named 'no_such_module'), "
            "expected an algorithm at module:attribute; correct the path",
        ),
        (
            "leakgauge.clients.fedsgd:FedSDG",
            "client.name: 'leakgauge.clients.fedsgd:FedSDG': cannot be imported (AttributeError: module "
            "'leakgauge.clients.fedsgd' has no attribute 'FedSDG'), expected an algorithm at module:attribute; correct the path",
        ),
        (
            "leakgauge.auditing.record:ATTACK",
            "client.name: 'leakgauge.auditing.record:ATTACK': is of type str, "
            "expected a class or a function that makes an algorithm; correct the path",
        ),
    ],
)
def test_a_name_that_leads_nowhere(name, told):
    with pytest.raises(UsageError) as caught:
        registry.find("client", name, "client.name")
    assert str(caught.value) == told


def test_an_unknown_family():
    with pytest.raises(UsageError, match=r"^family: got 'atack', did you mean 'attack'\?$"):
        registry.entries("atack")


def test_a_plugin_is_listed_beside_the_built_in(plugin):
    plugin("sound")
    entry = registry.entries("attack")["zebra"]
    assert (entry.origin, entry.target) == ("leakgauge-zebra 1.2", "leakgauge_zebra:Zebra")
    assert "dlg" in registry.entries("attack")
    zebra = registry.find("attack", "zebra")
    assert zebra().width == 2
    assert registry.name_of("attack", zebra) == "zebra"


def test_a_distribution_that_is_found_twice_counts_once(plugin):
    plugin("sound", "one")
    plugin("sound", "two")
    assert registry.find("attack", "zebra").__module__ == "leakgauge_zebra"


@pytest.mark.parametrize(
    ("family", "name", "told"),
    [
        (
            "attack",
            "broken",
            "attack 'broken' of leakgauge-broken 0.3: cannot be imported (RuntimeError: the license has run out), "
            "expected an algorithm at module:attribute; mend or uninstall it",
        ),
        (
            "attack",
            "absent",
            "attack 'absent' of leakgauge-broken 0.3: cannot be imported (ModuleNotFoundError: No module named "
            "'leakgauge_absent'), expected an algorithm at module:attribute; mend or uninstall it",
        ),
        (
            "metric",
            "constant",
            "metric 'constant' of leakgauge-broken 0.3: is of type int, expected a class or a function that makes an algorithm; "
            "mend or uninstall it",
        ),
    ],
)
def test_a_broken_plugin_is_told_as_such_and_harms_no_other(plugin, family, name, told):
    plugin("broken")
    assert name in registry.entries(family)
    with pytest.raises(UsageError) as caught:
        registry.find(family, name)
    assert str(caught.value) == told
    assert registry.find("attack", "dlg").__name__ == "dlg"


def test_two_owners_of_a_name(plugin):
    plugin("clashing")
    told = (
        r"^client 'fedsgd': claimed by both leakgauge-clashing 2\.0 \(leakgauge_clashing:FedSGD\) and leakgauge [\d.]+ "
        r"\(leakgauge\.clients\.fedsgd:FedSGD\), expected one owner; "
        r"uninstall one of them or name the algorithm as module:attribute$"
    )
    with pytest.raises(UsageError, match=told):
        registry.entries("client")
    with pytest.raises(UsageError, match=told):
        registry.find("client", "fedsgd")
    assert registry.find("client", "fedavg").__name__ == "FedAvg"
    itself = registry.find("client", "leakgauge.clients.fedsgd:FedSGD")
    assert registry.name_of("client", itself) == "leakgauge.clients.fedsgd:FedSGD"


def test_a_plugin_goes_all_the_way_from_yaml_to_a_record(tmp_path):
    install("sound", tmp_path / "site")
    code = """
from leakgauge.auditing.pipeline import run
from leakgauge.spec import canonical, loads, prepare
spec = loads("{data: photographs, batch: {size: 2}, victim: mlp, attack: {name: zebra, width: 4}, defenses: [silence]}")
print(canonical(spec)["attack"], canonical(spec)["defenses"])
outcome = run(*prepare(spec))
print(outcome.record.trials["attack"].status, outcome.images.guesses["attack"].shape)
"""
    done = python(code, tmp_path / "site", ROOT)
    assert done.stdout.splitlines() == [
        "{'name': 'zebra', 'width': 4} [{'name': 'silence', 'rest': 0.0}]",
        "ok torch.Size([2, 3, 32, 32])",
    ], done.stderr


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A file whose code leaves a trace where it is run."""
    (tmp_path / "traced.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'trace')!r}).touch()\nfrom leakgauge.clients.fedsgd import FedSGD\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(registry.NO_CODE, "0")
    registry._tell.cache_clear()
    yield tmp_path / "trace"
    sys.modules.pop("traced", None)


def test_code_from_outside_is_told_once(outside, caplog):
    registry.find("client", "traced:FedSGD")
    registry.find("client", "traced:FedSGD")
    assert outside.exists()
    assert caplog.messages == ["imports code from outside leakgauge: traced:FedSGD"]


@pytest.mark.parametrize(
    "config",
    [
        {"client": "traced:FedSGD"},
        {"victim": {"name": "module", "module": "traced:FedSGD"}},
        {"attack": {"name": "idlg", "replay": "traced:FedSGD"}},
        {"defenses": ["traced:FedSGD"]},
        {"metrics": {"psnr": "psnr", "mine": "traced:FedSGD"}},
    ],
    ids=lambda config: next(iter(config)),
)
def test_code_from_outside_is_refused_before_it_is_run(outside, monkeypatch, config):
    from leakgauge.spec import parse, prepare

    monkeypatch.setenv(registry.NO_CODE, "1")
    whole = {"data": "photographs", "batch": {"size": 1}, "victim": "mlp", "attack": "dlg"} | config
    with pytest.raises(UsageError, match="names code, which --no-code or LEAKGAUGE_NO_CODE refuses"):
        prepare(parse(whole))
    assert not outside.exists()
    assert registry.code_in(whole) == ("traced:FedSGD",)


def test_what_is_installed_is_no_code_from_outside(plugin, monkeypatch, caplog):
    monkeypatch.setenv(registry.NO_CODE, "1")
    plugin("sound")
    assert registry.find("attack", "zebra").__module__.startswith("leakgauge_")
    assert registry.find("client", "leakgauge.clients.fedsgd:FedSGD").__name__ == "FedSGD"
    assert not caplog.messages
    assert registry.code_in({"victim": {"name": "module", "module": "torchvision:resnet18"}, "attack": "dlg"}) == ()


HARM = "from pathlib import Path\n\n\ndef harm(path: str = {trace!r}) -> None:\n    Path(path).touch()\n"
UNDECLARED = {
    "attack": {"attack": "harmful:harm"},
    "with settings": {"attack": {"name": "harmful:harm", "path": "{trace}"}},
    "pip": {"attack": {"name": "pip._internal.cli.main:main", "args": ["--version"]}},
    "system": {"client": {"name": "subprocess:getoutput", "cmd": "touch {trace}"}},
    "a class": {"client": "harmful:Harm"},
    "an inner function of ours": {"attack": "leakgauge.executor.worker:die_with_parent"},
    "deep inside": {"attack": {"name": "idlg", "search": {"name": "harmful:harm"}}},
    "a list": {"defenses": [{"name": "harmful:harm"}]},
    "a mapping": {"metrics": {"mine": {"name": "harmful:harm"}}},
    "a network": {"victim": {"name": "module", "module": "os:getcwd"}},
    "a network of pip": {"victim": {"name": "module", "module": "pip._internal.cli.main:main"}},
    "a network by another name": {"victim": {"name": "module", "module": "harmful:getcwd"}},
    "a class that is no network": {"victim": {"name": "module", "module": "harmful:Harm"}},
}


@pytest.mark.filterwarnings("ignore:Setuptools is replacing distutils")  # of pip, where setuptools was imported before it
@pytest.mark.parametrize("config", UNDECLARED.values(), ids=UNDECLARED)
def test_nothing_is_called_that_is_not_declared(tmp_path, monkeypatch, config):
    from leakgauge.spec import parse, prepare

    trace = tmp_path / "trace"
    code = HARM.format(trace=str(trace)) + "\n\nfrom os import getcwd\n\n\nclass Harm:\n    def __init__(self):\n        harm()\n"
    (tmp_path / "harmful.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("harmful", None)
    whole = {"data": "photographs", "batch": {"size": 1}, "victim": "mlp", "attack": "dlg"} | config
    with pytest.raises(UsageError, match=r"does not say that it .* so it is not called") as told:
        prepare(parse(yaml.safe_load(yaml.safe_dump(whole).replace("{trace}", str(trace)))))
    assert not trace.exists()
    assert "\n" not in str(told.value)


def test_what_is_declared_is_called(tmp_path, monkeypatch):
    (tmp_path / "declared.py").write_text(
        "import leakgauge as lg\nfrom leakgauge.clients.fedsgd import FedSGD\n\n\n"
        "@lg.recipe\ndef plain() -> FedSGD:\n    return FedSGD()\n\n\n"
        "@lg.algorithm\nclass Mine:\n    rate: float = 0.1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("plain", "Mine"):
        assert algorithm.is_declared(registry.find("client", f"declared:{name}"))


def test_to_ask_whether_something_is_declared_runs_nothing():
    class Trap:
        def __getattr__(self, name):
            raise AssertionError(f"asked for {name}")

    assert not algorithm.is_declared(Trap())
    assert not algorithm.is_declared(len)
    assert not algorithm.is_declared(Trap)
