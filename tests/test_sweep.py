"""Sweeps: many audits from one file, all checked before any runs."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakgauge import spec
from leakgauge.core.errors import UsageError
from leakgauge.core.reading import write_yaml
from leakgauge.spec import sweep

BASE = {
    "data": "algorithms:Checkers",
    "batch": {"size": 2},
    "victim": "algorithms:Flat",
    "attack": "dlg",
    "training": 1,
}


def told(function, *arguments, **named):
    with pytest.raises(UsageError) as caught:
        function(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_grid_is_walked_with_its_last_key_fastest():
    grid = {"attack.restarts": [1, 2], "defenses": [[], [{"name": "clipping"}]], "seed": [0, 1, 2]}
    found = sweep.expand({"name": "wide", "base": BASE, "grid": grid})
    points = [(one.parts.attack.restarts, len(one.parts.defenses), one.parts.seed) for one in found]
    assert points == list(itertools.product([1, 2], [0, 1], [0, 1, 2]))
    assert found[1].name == "wide: attack.restarts=1, defenses=none, seed=1"
    alone = spec.parse({**BASE, "attack": {"name": "dlg", "restarts": 2}, "defenses": ["clipping"], "seed": 2})
    assert spec.key(found[-1]) == spec.key(alone)


def test_points_that_are_one_audit_count_once():
    found = sweep.expand(
        {"base": BASE, "grid": {"attack": ["dlg", {"name": "dlg"}, "idlg"]}, "include": [{"seed": 0}, {"seed": 1}]}
    )
    assert [(one.parts.seed, spec.canonical(one)["attack"]["name"]) for one in found] == [(0, "dlg"), (0, "idlg"), (1, "dlg")]


def test_included_points_alone_need_no_grid():
    found = sweep.expand(
        {"base": BASE, "include": [{"seed": 5, "training.steps": 3}, {"name": "own", "training": 4, "training.momentum": 0}]}
    )
    assert [(one.name, one.parts.seed, one.parts.training.steps) for one in found] == [
        ("sweep: seed=5, training.steps=3", 5, 3),
        ("own", 0, 4),
    ]


def test_a_base_alone_is_a_sweep_of_one():
    [only] = sweep.expand({"base": BASE})
    assert spec.key(only) == spec.key(spec.parse(BASE))


def test_a_base_may_be_a_file_beside_the_sweep(tmp_path):
    (tmp_path / "audits").mkdir()
    (tmp_path / "audits" / "base.yaml").write_text(write_yaml(BASE))
    (tmp_path / "sweep.yaml").write_text("name: two\nbase: audits/base.yaml\ngrid: {seed: [0, 1]}")
    found = sweep.load(tmp_path / "sweep.yaml", ["attack.restarts=3", "seed=9"])
    assert found.name == "two"
    assert [(one.parts.seed, one.parts.attack.restarts) for one in found.specs] == [(0, 3), (1, 3)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"grids": {}}, "grids: got {}, but a sweep has no such setting; did you mean 'grid'?"),
        ({"name": 3}, "name: got 3, expected text"),
        ({"base": None}, "base: got None, expected an audit, or the path of an audit file"),
        (
            {"base": BASE | {"atack": "dlg"}},
            "at seed=0: atack: got 'dlg', but an audit has no such setting; did you mean 'attack'?",
        ),
        ({"grid": [1]}, "grid: got [1], expected a mapping from a key to a list of values"),
        ({"grid": {"seed": 1}}, "grid.seed: got 1, expected a list of values, at least one"),
        ({"grid": {"seed": []}}, "grid.seed: got [], expected a list of values, at least one"),
        ({"include": {"seed": 1}}, "include: got {'seed': 1}, expected a list of mappings from a key to a value"),
        ({"include": [{"attack.restarts": 0}]}, "at attack.restarts=0: attack.restarts: got 0, expected a number >= 1"),
        (
            {"grid": {"attack.search.steps": [5, 0], "seed": [0, 1]}},
            "at attack.search.steps=0, seed=0: attack.search.steps: got 0, expected a number >= 1",
        ),
        ({"grid": {"seed.x": [5]}}, "at seed.x=5: seed.x: cannot be set within 0, expected a mapping at seed"),
        (
            {"grid": {"threat": ["server", "eavesdropper"]}},
            "at threat=eavesdropper: threat: 'eavesdropper' does not grant procedure, which the attack dlg needs; "
            "choose server or informed or adaptive, or another attack",
        ),
    ],
)
def test_every_point_is_checked_before_any_runs(change, expected):
    assert told(sweep.expand, {"base": BASE, "grid": {"seed": [0]}} | change) == expected


def test_a_base_file_that_is_not_there(tmp_path):
    assert told(sweep.expand, {"base": "absent.yaml"}, folder=tmp_path).endswith(
        "absent.yaml': cannot be read (No such file or directory), expected a YAML file; correct the path"
    )


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 12))
def test_shards_are_disjoint_and_whole(specs, count):
    numbered = list(enumerate(specs))
    parts = [sweep.shard(numbered, f"{part}/{count}") for part in range(1, count + 1)]
    assert sorted(itertools.chain(*parts)) == numbered
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(list(part) == sorted(part) for part in parts)


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "", "1 / 2", "²/3"])
def test_a_shard_that_does_not_exist(part):
    assert told(sweep.shard, (), part) == f"shard: got {part!r}, expected i/n with i from 1 to n, such as 1/4"


def test_a_point_that_stands_there_often_is_checked_once(monkeypatch):
    """A list of thousands of equal values is taken as fast as one of them."""
    checked, parse = [], sweep.parse
    monkeypatch.setattr(sweep, "parse", lambda document: checked.append(document) or parse(document))
    specs = sweep.expand({"base": BASE, "grid": {"seed": [0] * 500 + [1]}, "include": [{"seed": 0}, {"seed": 2}]})
    assert [one.parts.seed for one in specs] == [0, 1, 2]
    assert len(checked) == 3
