"""The spec: what a file may say, what it then means, and what is said where it is wrong."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import algorithms
import jsonschema
import pytest
import torch
from algorithms import Checkers, Everything, Weighted
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leakgauge import spec
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.matching import Matching
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.optimizers.adam import Adam
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import registry
from leakgauge.core.devices import device_named
from leakgauge.core.errors import UsageError
from leakgauge.core.reading import override, read_file, read_mapping, write_yaml
from leakgauge.spec.document import DEFAULTS

DEMO = """
name: demo
seed: 0
data: {name: "algorithms:Checkers"}
batch: {size: 2}
victim: {name: "algorithms:Flat"}
client: {name: fedavg, epochs: 2, optimizer: {name: adam, learning_rate: 0.01}}
defenses: [{name: gaussian_noise, sigma: 0.01}]
threat: server
attack: {name: dlg, restarts: 4}
criteria: {threshold: 20}
"""
EVERYTHING = {"name": "algorithms:Everything", "must": 1}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAKGAUGE_CACHE", str(tmp_path / "cache"))


def demo(*overrides):
    return spec.loads(DEMO, overrides)


def told(function, *arguments):
    """The one line that is said where a call is wrong."""
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# YAML


def test_plain_words_are_read_by_the_core_schema():
    text = (
        "{a: 1e-4, b: no, c: 2024-01-01, d: 010, e: 1., f: .5, g: -3, h: null, i: true, j: 1:30, k: '1', l: -1.5E+3, m: 1_0, n: on}"
    )
    read = read_mapping(text, "here")
    assert read == {
        "a": 1e-4, "b": "no", "c": "2024-01-01", "d": "010", "e": 1.0, "f": 0.5, "g": -3, "h": None, "i": True, "j": "1:30",
        "k": "1", "l": -1500.0, "m": "1_0", "n": "on",
    }  # fmt: skip
    assert [type(value) for value in read.values()].count(float) == 4


@settings(max_examples=300, deadline=None, derandomize=True)
@example({"\x85": "\u2028 \x85\ufeff"})
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"), max_size=5)
        | st.sampled_from(["1e-4", "no", "null", "~", "", "1.0", "<<", "=", "2024-01-01", "0x1", "on", "- a", "010", ".inf"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)  # fmt: skip
def test_what_is_written_is_read_back(value):
    again = read_mapping(write_yaml({"value": value}), "here")["value"]
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nseed: 2", "F: line 2: key 'seed' appears twice, expected once; delete one of them"),
        ("a:\n  b: 1\n  b: 2", "F: line 3: key 'b' appears twice, expected once; delete one of them"),
        ("1: 2", "F: line 1: a key is no text, expected a name; put it in quotes"),
        ("attack: [dlg", "F: no YAML at line 1, column 13 (expected ',' or ']', but got '<stream end>'), expected key: value"),
        ("- dlg", "F: holds ['dlg'], expected a mapping such as  attack: dlg"),
        ("", "F: holds None, expected a mapping such as  attack: dlg"),
        ("a: &x [*x]", "F: an alias holds itself, expected a tree; write the part out"),
        ("a: !!int x", "F: no YAML (invalid literal for int() with base 10: 'x'), expected key: value"),
        (
            "a: !!python/object/apply:os.getcwd []",
            "F: line 1: has the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd', expected plain values; leave it out",
        ),
    ],
)
def test_a_text_that_is_no_mapping(text, expected):
    assert told(read_mapping, text, "F") == expected


def test_anchors_and_merges_may_be_used():
    assert read_mapping("a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}", "F")["b"] == {"x": 1, "y": 2}


def test_a_file_that_cannot_be_read(tmp_path):
    assert told(read_file, tmp_path / "absent.yaml").endswith(
        "absent.yaml': cannot be read (No such file or directory), expected a YAML file; correct the path"
    )
    assert "cannot be read (Is a directory)" in told(read_file, tmp_path)
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG")
    assert "is no text (invalid start byte), expected a YAML file in UTF-8" in told(spec.load, tmp_path / "picture.yaml")


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("attack.steps=5", {"attack": {"name": "dlg", "steps": 5}}),
        ("attack.search.rate=1e-3", {"attack": {"name": "dlg", "search": {"rate": 0.001}}}),
        ("attack=idlg", {"attack": "idlg"}),
        ("attack=", {"attack": None}),
        ("defenses.0.sigma=.1", {"defenses": [{"name": "x", "sigma": 0.1}]}),
        ("defenses.1=sign", {"defenses": [{"name": "x"}, "sign"]}),
        ("defenses=[]", {"defenses": []}),
        (" seed =1", {"seed": 1}),
        ("data.path=a=b", {"data": {"path": "a=b"}}),
    ],
)
def test_an_override_changes_just_its_place(assignment, expected):
    document = {"attack": "dlg", "defenses": [{"name": "x"}]}
    assert override(document, assignment) == {**document, **expected}
    assert document == {"attack": "dlg", "defenses": [{"name": "x"}]}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("attack", "--set: got 'attack', expected key=value, such as  attack.steps=100"),
        ("=3", "--set: got '=3', expected key=value, such as  attack.steps=100"),
        ("defenses.2.x=1", "defenses.2: no such entry, expected a number from 0 to 1 (which appends)"),
        ("defenses.sign=1", "defenses.sign: no such entry, expected a number from 0 to 1 (which appends)"),
        ("seed.x=1", "seed.x: cannot be set within 3, expected a mapping at seed"),
        ("attack..x=1", "attack..x: cannot be set within {'name': 'dlg'}, expected a mapping at attack"),
        (
            "seed=[",
            "--set seed: no YAML at line 1, column 2 (expected the node content, but found '<stream end>'), expected key: value",
        ),
    ],
)
def test_an_override_that_leads_nowhere(assignment, expected):
    assert told(override, {"attack": "dlg", "defenses": ["x"], "seed": 3}, assignment) == expected


# building


def test_build_reads_names_settings_and_nested_parts():
    assert spec.build("optimizer", "sgd") == SGD()
    config = {"name": "fedavg", "epochs": 2, "optimizer": {"name": "adam", "learning_rate": 1}}
    assert spec.build("client", config) == FedAvg(epochs=2, optimizer=Adam(learning_rate=1.0))
    assert spec.build("client", {"name": "fedavg", "optimizer": "adamw"}).optimizer.decoupled


def test_build_passes_live_algorithms_through():
    optimizer = Adam()
    assert spec.build("optimizer", optimizer) is optimizer
    assert spec.build("client", {"name": "fedavg", "optimizer": optimizer}).optimizer is optimizer


def test_build_reads_every_kind_of_setting():
    made = spec.build(
        "attack",
        EVERYTHING
        | {"rate": 3, "where": "there", "limit": 2, "seeds": [], "betas": [0, 0.5], "grants": ["count", "labels"]}
        | {"likelihood": "algorithms:Weighted", "fallback": {"name": "algorithms:Weighted", "weight": 5}, "labels": "known"}
        | {"priors": ["algorithms:Weighted"], "named": {"own": "algorithms:Weighted"}, "search": None},
    )
    assert made == Everything(
        must=1, rate=3.0, where=Path("there"), limit=2, seeds=(), betas=(0.0, 0.5), grants=frozenset({"count", "labels"}),
        likelihood=Weighted(), fallback=Weighted(weight=5.0), labels=spec.build("labels", "known"), priors=(Weighted(),),
        named={"own": Weighted()},
    )  # fmt: skip
    assert type(made.rate) is float
    assert spec.build("attack", "algorithms:recipe").likelihood == Weighted(weight=4.0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"steps": 0}, "attack.steps: got 0, expected a number >= 1"),
        ({"steps": "abc"}, "attack.steps: got 'abc', expected an integer"),
        ({"steps": 1.5}, "attack.steps: got 1.5, expected an integer"),
        ({"steps": True}, "attack.steps: got True, expected an integer"),
        ({"steps": None}, "attack.steps: got None, expected an integer"),
        ({"rate": True}, "attack.rate: got True, expected a number"),
        ({"rate": "1"}, "attack.rate: got '1', expected a number"),
        ({"rate": 0}, "attack.rate: got 0, expected a number > 0"),
        ({"rate": float("inf")}, "attack.rate: got inf, expected a finite number"),
        ({"share": 1.5}, "attack.share: got 1.5, expected a number <= 1"),
        ({"momentum": 1}, "attack.momentum: got 1, expected a number < 1"),
        ({"angle": -2}, "attack.angle: got -2, expected a number >= -1"),
        ({"boxed": 1}, "attack.boxed: got 1, expected true or false"),
        ({"boxed": "yes"}, "attack.boxed: got 'yes', expected true or false"),
        ({"schedule": "stop"}, "attack.schedule: got 'stop', expected 'none' or 'step'"),
        ({"text": 1}, "attack.text: got 1, expected text"),
        ({"where": 1}, "attack.where: got 1, expected text"),
        ({"limit": 0}, "attack.limit: got 0, expected a number >= 1"),
        ({"seeds": 1}, "attack.seeds: got 1, expected a list"),
        ({"seeds": [1, -1]}, "attack.seeds.1: got -1, expected a number >= 0"),
        ({"betas": [0.5]}, "attack.betas.1: got [0.5], expected one more entry"),
        ({"grants": ["all"]}, "attack.grants.0: got 'all', expected 'labels', 'count', 'procedure', "),
        ({"stepz": 1}, "attack.stepz: got 1, but attack 'algorithms:Everything' has no such setting; did you mean 'steps'?"),
        ({"rate": {1}}, "attack.rate: got [1], expected a number"),
        ({"rate": object}, "attack.rate: got <class 'object'>, expected a value that a file can hold"),
        ({"likelihood": None}, "attack.likelihood: got None, expected a name of the family likelihood (known: cosine, "),
        ({"labels": "know"}, "attack.labels: no labels is called 'know', did you mean 'known'?"),
        ({"labels": {"nam": "known"}}, "attack.labels.nam: got 'known', but there is no such setting; did you mean 'name'?"),
        ({"labels": {"steps": 1}}, "attack.labels.name: got None, expected a name of the family labels (known: "),
        ({"labels": {"name": 3}}, "attack.labels.name: got 3, expected a name of the family labels (known: "),
        ({"labels": {"name": "known", "x": 1}}, "attack.labels.x: got 1, but labels 'known' has no such setting; known: none"),
        ({"search": {"name": "lbfgs", "steps": 0}}, "attack.search.steps: got 0, expected a number >= 1"),
        ({"search": "algorithms:Weighted"}, "attack.search: 'algorithms:Weighted' makes Weighted, which has no minimize, "),
        ({"search": Weighted}, "attack.search: got <class 'algorithms.Weighted'>, expected a name of the family search"),
        ({"priors": "l2"}, "attack.priors: got 'l2', expected a list"),
        ({"priors": ["l2", "l"]}, "attack.priors.1: no prior is called 'l', did you mean 'l2'?"),
        ({"priors": [{"name": "algorithms:Weighted", "weight": 0}]}, "attack.priors.0.weight: got 0, expected a number > 0"),
        ({"named": ["psnr"]}, "attack.named: got ['psnr'], expected a mapping from a label to a config"),
        ({"named": {"a": {"name": "algorithms:Weighted", "weight": -1}}}, "attack.named.a.weight: got -1, expected a number > 0"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit(change, expected):
    line = told(spec.build, "attack", EVERYTHING | change, "attack")
    assert line.startswith(expected)
    if not expected.endswith((", ", "known: ", " search")):
        assert line == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"name": "algorithms:Everything"}, "attack.must: is missing, expected a value; add it"),
        ("matching", "attack.likelihood: is missing, expected a name of the family likelihood (known: cosine, "),
        (3, "attack: got 3, expected a name of the family attack (known: adam_inversion, "),
        ("algorithms:Reserved", "attack: 'algorithms:Reserved' has a setting called 'name', which holds "),
        ("algorithms:unannotated", "algorithms:unannotated: parameter 'steps' cannot be set from a file, expected a "),
        ("algorithms:greedy", "algorithms:greedy: parameter 'settings' cannot be set from a file, expected a "),
        ("algorithms:picky", "attack: attack 'algorithms:picky' cannot be made of these settings (not today), expected others"),
        ({"name": "algorithms:Holding", "image": 1}, "attack.image: a value of type "),
        (algorithms.Bare(), "attack: got <algorithms.Bare object at 0x"),
    ],
)  # fmt: skip
def test_an_algorithm_that_cannot_be_made(config, expected):
    assert told(spec.build, "attack", config, "attack").startswith(expected)


def test_settings_that_contradict_each_other():
    config = {"name": "fedavg", "optimizer": {"name": "sgd", "nesterov": True}}
    assert told(spec.build, "client", config, "client") == (
        "client.optimizer.nesterov: got momentum=0.0, dampening=0.0, expected momentum > 0 and dampening 0; set momentum: 0.9"
    )


# describing


def test_describe_writes_every_setting_down():
    assert spec.describe("client", FedAvg(optimizer=SGD(learning_rate=1))) == {
        "name": "fedavg",
        "epochs": 1,
        "batch_size": None,
        "optimizer": {
            "name": "sgd", "learning_rate": 1.0, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0,
        },
        "batchnorm": "eval",
        "gradient": {"name": "mean"},
    }  # fmt: skip
    found = spec.describe("attack", Everything(must=1, grants=frozenset({"labels", "count", "scale"}), named={"a": Weighted()}))
    assert found["name"] == "algorithms:Everything"
    assert found["grants"] == ["count", "labels", "scale"]
    assert found["priors"][1] == {"name": "algorithms:Weighted", "weight": 3.0}
    assert found["named"] == {"a": {"name": "algorithms:Weighted", "weight": 1.0}}
    assert (found["where"], found["betas"], found["labels"]) == ("here", [0.9, 0.99], None)


def test_what_cannot_be_described_is_told():
    assert "whose settings cannot be written down; expected an @algorithm" in told(spec.describe, "attack", algorithms.Bare())
    assert told(spec.describe, "attack", algorithms.Holding(image=torch.zeros(1))).startswith("attack.image: a value of type ")


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (family, name)
        for family in registry.FAMILIES
        for name in registry.entries(family)
        if not any(one.is_required for one in spec.parameters.parameters(registry.find(family, name)).values())
    ],
)
def test_every_algorithm_is_what_its_description_builds(family, name):
    made = spec.build(family, name)
    assert spec.build(family, json.loads(json.dumps(spec.describe(family, made)))) == made


# the audit


def test_canonical_writes_every_default_down_and_keeps_recipes_by_name():
    found = spec.canonical(demo())
    assert found["attack"]["name"] == "dlg"
    assert found["attack"]["restarts"] == 4
    assert found["attack"]["search"]["name"] == "lbfgs"
    assert found["criteria"] == {"threshold": 20.0, "margin": 3.0, "candidates": 1000, "alpha": 0.01, "power": 1}
    assert found["threat"] == {"name": "server", "grants": ["count", "procedure", "scale"]}
    assert list(found["metrics"]) == ["psnr", "ssim", "mse", "psnr_affine", "ssim_affine", "mse_affine"]
    assert found["training"]["steps"] == 0
    assert "name" not in found
    assert json.loads(json.dumps(found)) == found


def test_canonical_gives_a_copy():
    audit = demo()
    spec.canonical(audit)["attack"]["restarts"] = 99
    assert spec.canonical(audit)["attack"]["restarts"] == 4


def test_the_key_is_the_hash_of_what_the_parts_are():
    audit = demo()
    parts = {name: value for name, value in vars(audit.parts).items() if name in registry.FAMILIES}
    assert set(parts) == {"data", "victim", "client", "attack"}
    whole = spec.canonical(audit) | {family: spec.describe(family, value) for family, value in parts.items()}
    text = json.dumps({"scheme": 2, "audit": whole}, sort_keys=True, separators=(",", ":"))
    assert spec.key(audit) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_an_algorithm_may_hold_what_no_file_can_as_long_as_it_is_left_out():
    assert spec.canonical(demo("attack=algorithms:Holding"))["attack"]["image"] is None


def test_a_setting_that_is_younger_than_keys_is_told_where_none_is_no_default():
    plain = {"name": "algorithms:Levels", "deep": None}
    assert {**spec.describe("attack", algorithms.Levels(deep=None)), "needs": []} == {**plain, "needs": []}
    assert spec.key(demo("attack=algorithms:Levels", "attack.deep=null")) != spec.key(demo("attack=algorithms:Levels"))
    assert "deep" not in spec.describe("attack", inverting_gradients())


@pytest.mark.parametrize(
    "same",
    [
        "name=other",
        "criteria.threshold=20.0",
        "criteria={}",
        "criteria.margin=3",
        "attack.labels=joint",
        "attack=dlg",
        "attack.enough=1e-7",
        "training=0",
        "training.steps=0",
        "threat={name: server, grants: [scale, count, procedure]}",
        "threat={name: server}",
        "data=algorithms:Checkers",
        "control=null",
        "client.gradient=mean",
        "metrics={mse: mse, psnr: psnr, ssim: {name: ssim}, psnr_affine: {name: affine, metric: {name: psnr}}, "
        "ssim_affine: {name: affine, metric: ssim}, mse_affine: {name: affine, metric: mse}}",
    ],
)
def test_spellings_of_one_audit_have_one_key(same):
    assert spec.key(demo(same)) == spec.key(demo())


def test_a_recipe_and_what_it_composes_have_one_key():
    audit = demo()
    live = spec.parse({**spec.canonical(audit), "attack": audit.parts.attack})
    assert isinstance(audit.parts.attack, Matching)
    assert (spec.canonical(live)["attack"]["name"], spec.key(live)) == ("matching", spec.key(audit))


def _leaves(node, path=()):
    if isinstance(node, dict) and node:
        return [leaf for name, child in node.items() for leaf in _leaves(child, (*path, name))]
    return [(".".join(path), node)]


def test_every_changed_number_changes_the_key():
    audit = demo("training=3")
    keys = [spec.key(audit)]
    for path, value in _leaves(spec.canonical(audit)):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            keys.append(
                spec.key(
                    spec.parse(spec.canonical(audit), [f"{path}={value / 2 if isinstance(value, float) and value else value + 1}"])
                )
            )
    assert len(keys) > 25
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "other",
    ["defenses=[]", "defenses.1=sign", "threat=informed", "threat.name=own", "metrics.extra=mse", "control=mean_image",
     "batch.labels=same", "client=fedsgd", "attack=idlg", "batch={indices: [0, 1]}", "client.batchnorm=train"],
)  # fmt: skip
def test_every_other_choice_changes_the_key(other):
    assert spec.key(demo(other)) != spec.key(demo())


@st.composite
def documents(draw):
    number = st.floats(1e-6, 1e6)
    share = st.floats(0, 0.999)
    optimizer = st.sampled_from(["sgd", "adam", "adamw"]) | st.fixed_dictionaries(
        {"name": st.sampled_from(["adam", "adamw"])}, optional={"learning_rate": number, "beta1": share}
    )
    weighted = st.just("algorithms:Weighted") | st.fixed_dictionaries(
        {"name": st.just("algorithms:Weighted")}, optional={"weight": number}
    )
    attack = st.fixed_dictionaries(
        {"name": st.just("algorithms:Everything"), "must": st.integers(1, 9)},
        optional={
            "rate": number | st.integers(1, 9),
            "text": st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=4)
            | st.sampled_from(["no", "1e-4", "~"]),
            "limit": st.none() | st.integers(1, 5),
            "seeds": st.lists(st.integers(0, 9), max_size=3),
            "priors": st.lists(weighted, max_size=2),
            "fallback": st.none() | weighted,
            "grants": st.lists(st.sampled_from(["labels", "count"]), max_size=3),
            "named": st.dictionaries(st.sampled_from("abc"), weighted, max_size=2),
        },
    )
    return draw(
        st.fixed_dictionaries(
            {
                "data": st.just("algorithms:Checkers"),
                "victim": st.just("algorithms:Flat"),
                "batch": st.fixed_dictionaries({"size": st.integers(1, 9)}) | st.fixed_dictionaries({"indices": st.just([3, 1])}),
                "attack": attack | st.sampled_from(["mean_image", "algorithms:recipe"]),
            },
            optional={
                "name": st.text(max_size=3),
                "seed": st.integers(-5, 2**70),
                "training": st.integers(0, 9) | st.fixed_dictionaries({}, optional={"momentum": share}),
                "client": st.just("fedsgd") | st.fixed_dictionaries({"name": st.just("fedavg")}, optional={"optimizer": optimizer}),
                "threat": st.sampled_from(["server", "adaptive", {"name": "own", "grants": ["scale", "count"]}]),
                "control": st.none() | attack,
                "criteria": st.fixed_dictionaries({}, optional={"threshold": number, "alpha": st.floats(0, 1)}),
            },
        )
    )


@given(documents())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_yaml_to_canonical_to_yaml_is_the_same_audit(document):
    if isinstance(document["attack"], dict) and document["attack"].get("text") == "labels":
        return
    audit = spec.loads(write_yaml(document))
    again = spec.loads(write_yaml(spec.canonical(audit)))
    assert spec.key(again) == spec.key(audit) == spec.key(spec.parse(document))
    assert spec.canonical(again) == spec.canonical(audit)
    assert again.parts == audit.parts


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("atack=dlg", "atack: got 'dlg', but an audit has no such setting; did you mean 'attack'?"),
        ("name=3", "name: got 3, expected text"),
        ("seed=1.5", "seed: got 1.5, expected an integer"),
        ("batch.size=0", "batch.size: got 0, expected a number >= 1"),
        ("batch={}", "batch.size: got None with indices None, expected one of the two; set the other one to null"),
        ("batch.indices=[1]", "batch.size: got 2 with indices (1,), expected one of the two; set the other one to null"),
        ("batch={indices: []}", "batch.indices: got [], expected different numbers, at least one; correct the list"),
        ("batch={indices: [1, 1]}", "batch.indices: got [1, 1], expected different numbers, at least one; correct the list"),
        ("batch={indices: [1, -1]}", "batch.indices.1: got -1, expected a number >= 0"),
        (
            "batch={indices: [1], labels: same}",
            "batch.labels: got 'same', expected random where indices choose the examples; leave it out",
        ),
        ("batch=4", "batch: got 4, expected a mapping; known: size, indices, labels"),
        ("training=-1", "training.steps: got -1, expected a number >= 0"),
        ("training=true", "training: got True, expected a mapping; known: steps, "),
        ("defenses=sign", "defenses: got 'sign', expected a list"),
        ("defenses.0.sigma=-1", "defenses.0.sigma: got -1, expected a number >= 0"),
        ("threat=srever", "threat: got 'srever', did you mean 'server'?"),
        ("threat={name: own, grants: [label]}", "threat.grants.0: got 'label', expected 'labels', 'count', "),
        (
            "threat.grants=[labels]",
            "threat.grants: got labels, expected count, procedure, scale for 'server'; "
            "give a threat model of your own another name",
        ),
        (
            "threat=eavesdropper",
            "threat: 'eavesdropper' does not grant procedure, which the attack dlg needs; "
            "choose server or informed or adaptive, or another attack",
        ),
        ("metrics={mse: mse}", "metrics: got mse, expected psnr among them; add  psnr: psnr"),
        ("criteria.alpha=2", "criteria.alpha: got 2, expected a number <= 1"),
        ("criteria=null", "criteria: got None, expected a mapping; known: threshold, margin, candidates, alpha, power"),
    ],
)
def test_an_audit_that_is_not_sound(change, expected):
    line = told(demo, change)
    assert line == expected or (expected.endswith(", ") and line.startswith(expected))


@pytest.mark.parametrize("name", ["data", "batch", "victim", "attack"])
def test_what_no_audit_can_do_without(name):
    document = {key: value for key, value in read_mapping(DEMO, "F").items() if key != name}
    assert told(spec.parse, document).startswith(f"{name}: is missing, expected a ")
    assert name not in DEFAULTS


def test_files_are_loaded_with_overrides(tmp_path):
    (tmp_path / "audit.yaml").write_text(DEMO)
    audit = spec.load(tmp_path / "audit.yaml", ["attack.restarts=2", "training=5", "training.momentum=0"])
    assert (audit.name, audit.parts.attack.restarts) == ("demo", 2)
    assert (audit.parts.training.steps, audit.parts.training.momentum) == (5, 0.0)


# preparing


def test_preparing_gives_what_the_file_says():
    audit = demo("batch={indices: [3, 1]}", "seed=7", "control=mean_image")
    scene, plan = spec.prepare(audit)
    pool = Checkers().load()
    assert torch.equal(scene.secret.x, pool.x[[3, 1]])
    assert torch.equal(scene.secret.y, pool.y[[3, 1]])
    assert (plan.client, plan.defenses, plan.attack) == (audit.parts.client, audit.parts.defenses, audit.parts.attack)
    assert (plan.seed, plan.threat.name, plan.criteria.threshold) == (7, "server", 20.0)
    assert plan.control == plan.blind == spec.build("attack", "mean_image")
    assert set(plan.metrics) == set(DEFAULTS["metrics"])


@pytest.mark.parametrize("copies", [0, 2])
def test_the_secret_and_its_copies_are_not_public(copies):
    scene, _ = spec.prepare(demo(f"data.copies={copies}", "batch.size=3"))
    assert len(scene.public) == (12 - len(scene.secret.x.unique(dim=0))) * (copies + 1)
    assert not any(torch.equal(one, other) for one in scene.secret.x for other in scene.public.x)


def test_one_seed_gives_one_victim_and_one_batch():
    one, _ = spec.prepare(demo("attack=idlg", "defenses=[]", "client=fedsgd"))
    two, _ = spec.prepare(demo())
    other, _ = spec.prepare(demo("seed=1"))
    assert torch.equal(one.secret.x, two.secret.x)
    assert torch.equal(one.model.params["1.weight"], two.model.params["1.weight"])
    assert not torch.equal(one.model.params["1.weight"], other.model.params["1.weight"])
    assert not torch.equal(one.secret.x, other.secret.x)


@pytest.mark.parametrize("seed", range(5))
def test_the_classes_of_a_batch_can_be_chosen(seed):
    unique, _ = spec.prepare(demo("batch={size: 3, labels: unique}", f"seed={seed}"))
    same, _ = spec.prepare(demo("batch={size: 4, labels: same}", f"seed={seed}"))
    assert len(unique.secret.y.unique()) == 3
    assert len(same.secret.y.unique()) == 1
    assert len(same.secret.x.unique(dim=0)) == 4


def test_training_uses_half_of_the_public_data_and_keeps_the_rest(monkeypatch):
    taught = []
    monkeypatch.setattr(spec.preparing, "train", lambda model, data, *_, **__: taught.append(data) or model)
    scene, _ = spec.prepare(demo("training=3"))
    untrained, _ = spec.prepare(demo())
    [lessons] = taught
    values = [set(batch.x.flatten(1)[:, 0].tolist()) for batch in (lessons, scene.public, scene.secret)]
    assert [len(one) for one in values] == [5, 5, 2]
    assert len(set.union(*values)) == 12
    assert torch.equal(scene.secret.x, untrained.secret.x)


def test_a_trained_victim_is_trained_once():
    told = []
    first, _ = spec.prepare(demo("training=3"), tick=told.append)
    again, _ = spec.prepare(demo("training=3", "attack=idlg"), tick=told.append)
    other, _ = spec.prepare(demo("training=3", "data.count=14"), tick=told.append)
    untrained, _ = spec.prepare(demo())
    assert told == [1 / 3, 2 / 3, 1.0] * 2
    weights = [scene.model.params["1.weight"] for scene in (first, again, other, untrained)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("batch.size=13", "batch.size: got 13, expected at most the 12 examples of the data; lower it"),
        ("batch={indices: [0, 12]}", "batch.indices: got 12, expected numbers from 0 to 11; correct the list"),
        ("batch={size: 4, labels: unique}", "batch.size: got 4, expected at most the 3 classes of the data for unique labels"),
        (
            "batch={size: 5, labels: same}",
            "batch.size: got 5, expected at most the 4 examples of the largest class for same labels",
        ),
        (
            "victim.side=5",
            "victim: 'algorithms:Flat' cannot take examples of shape (1, 4, 4) (mat1 and mat2 shapes cannot be multiplied "
            "(1x16 and 25x3)); choose another victim or size",
        ),
    ],
)
def test_parts_that_do_not_fit_together(change, expected):
    assert told(spec.prepare, demo(change)) == expected


def test_nothing_is_left_to_train_on():
    assert told(spec.prepare, demo("batch.size=12", "training=1")).startswith(
        "training.steps: got 1, but no data is left beside the secret; take a smaller batch, or 0 steps"
    )
    scene, _ = spec.prepare(demo("batch.size=12"))
    assert scene.public is None


def test_data_that_contradicts_itself(monkeypatch):
    pool = Checkers().load()
    for wrong, expected in [
        (replace(pool, y=pool.y + 1), "data: its labels are not one of 0 to 2 for each example; correct the data"),
        (replace(pool, y=pool.y[:3]), "data: its labels are not one of 0 to 2 for each example; correct the data"),
        (replace(pool, x=pool.x[:, :, 1:]), "data: holds examples of shape (1, 3, 4), expected (1, 4, 4) as it declares"),
        (replace(pool, x=pool.x[:0], y=pool.y[:0]), "data: holds no example, expected at least one; choose other data"),
    ]:
        monkeypatch.setattr(Checkers, "load", lambda _, wrong=wrong: wrong)
        assert told(spec.prepare, demo()) == expected


@pytest.mark.parametrize("name", ["foo", "cuda:99", "meta", "cpu:x", ""])
def test_a_device_that_this_machine_does_not_have(name):
    line = told(spec.prepare, demo(), name)
    assert line.startswith(f"device: got {name!r} (")
    assert line.endswith("), expected a device of this machine; choose auto or cpu")


def test_auto_is_cuda_where_there_is_one():
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_part_without_a_name_is_the_default_part_with_these_settings():
    attack = spec.build("attack", {"name": "dlg", "search": {"steps": 7}})
    assert attack == spec.build("attack", {"name": "dlg", "search": {"name": "lbfgs", "steps": 7}})
    client = spec.build("client", {"name": "fedavg", "optimizer": {"learning_rate": 0.5}})
    assert client.optimizer.learning_rate == 0.5
    with pytest.raises(UsageError, match="did you mean 'name'"):
        spec.build("attack", {"name": "dlg", "search": {"nam": "adam"}})


# the schema


@pytest.fixture(scope="module")
def validator():
    found = spec.schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(json.loads(json.dumps(found)))


def test_the_schema_accepts_files_and_canonical_forms(validator):
    for overrides in [(), ("attack=dlg", "threat=informed", "training=3"), ("threat={name: own, grants: [count, procedure]}",)]:
        document = read_mapping(DEMO, "F")
        for one in overrides:
            document = override(document, one)
        validator.validate(document)
        validator.validate(spec.canonical(demo(*overrides)))


@pytest.mark.parametrize(
    "change",
    ["atack=dlg", "attack=dlgg", "attack.restarts=0", "attack.restarts=a", "attack.labels.nam=known", "attack.labels=know",
     "attack=matching", "seed=a", "batch.size=0", "batch.labels=all", "defenses=sign", "defenses.0.sigma=-1", "threat=srever",
     "threat={grants: [count]}", "threat={name: own, grants: [all]}", "metrics={mse: mse}", "criteria.alpha=2", "training=-1",
     "training.steps=a",
     "data=null", "name=3", "client.optimizer.learning_rate=true", "client.batchnorm=evil"],
)  # fmt: skip
def test_the_schema_and_the_check_reject_the_same(validator, change):
    assert not validator.is_valid(override(read_mapping(DEMO, "F"), change))
    told(demo, change)


def test_the_schema_holds_every_algorithm(validator):
    definitions = validator.schema["$defs"]
    for family in registry.FAMILIES:
        titles = [one["title"] for one in definitions[family]["anyOf"] if "title" in one]
        assert titles == list(registry.entries(family))
    described = [one for family in registry.FAMILIES for one in definitions[family]["anyOf"] if "title" in one]
    assert all(one["description"] for one in described)


def test_an_algorithm_that_cannot_be_imported_is_named(monkeypatch):
    broken = registry.Entry("attack", "broken", "no_such_module:X", "leakgauge-broken 0.3")
    monkeypatch.setattr(registry, "_scan", lambda: {family: {} for family in registry.FAMILIES} | {"attack": {"broken": [broken]}})
    assert told(spec.schema).startswith("attack 'broken' of leakgauge-broken 0.3: cannot be imported")
