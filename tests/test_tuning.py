"""Tuning: rehearsals never touch the secret, all attacks have one budget, and the best of what was tried is kept."""

import csv
import math
import statistics
import sys
from dataclasses import replace

import pytest
import torch
from samples import record, trial

from leakgauge import spec, tuning
from leakgauge.auditing.pipeline import run
from leakgauge.auditing.record import ATTACK
from leakgauge.cli import main
from leakgauge.core.algorithm import NonNegative, NonNegativeInt, Positive, algorithm
from leakgauge.core.errors import MissingExtra, UsageError
from leakgauge.core.protocols import Pool
from leakgauge.core.reading import write_yaml
from leakgauge.core.types import Batch, Capability, Inputs, Reconstruction, Status
from leakgauge.results.store import Store
from leakgauge.tuning import Choice, Goal, Range, best, kept, read_choice, read_range, rehearsals, tried, tuned
from leakgauge.tuning.proposing import RANDOM, proposed

TRUTHS: list[torch.Tensor] = []
PUBLIC: list[Batch] = []


@algorithm
class Grays:
    """Numbered images of 1x4x4 pixels about the same gray, no two alike but for `copies` more of each."""

    count: NonNegativeInt = 60
    copies: NonNegativeInt = 0

    def load(self) -> Pool:
        x = 0.7 + 1e-4 * torch.arange(self.count).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)
        x = x.repeat(self.copies + 1, 1, 1, 1).clone()
        return Pool(x, torch.arange(len(x)) % 3, Inputs((1, 4, 4), 3), ("a", "b", "c"))


@algorithm
class Level:
    """An attack that guesses one gray, and is best at the gray of the data; its loss is least at a `rate` of 0.1."""

    level: NonNegative = 0.1
    rate: Positive = 3.0
    search: Positive = 3.0
    restarts: NonNegativeInt = 1

    @property
    def needs(self):
        return frozenset({Capability.COUNT})

    def run(self, seen, /, *, rng, tick):
        if seen.public is not None:
            PUBLIC.append(seen.public)
        x = torch.full((seen.count, *seen.model.inputs.shape), self.level)
        status = Status.DIVERGED if self.level > 0.9 else Status.OK
        x = x / 0 if status is Status.DIVERGED else x
        loss = torch.tensor([math.log(self.search / 0.1) ** 2, 100.0])
        return Reconstruction(Batch(x, torch.zeros(seen.count, dtype=torch.long)), loss, status=status)


@algorithm
class Watching:
    """A metric that keeps the truths that it was shown; less is better."""

    def __call__(self, guess, truth, /):
        TRUTHS.append(truth.clone())
        return (guess - truth).abs().flatten(1).amax(1)


DOCUMENT = {
    "name": "grays",
    "data": "test_tuning:Grays",
    "batch": {"size": 2},
    "victim": "algorithms:Flat",
    "attack": "test_tuning:Level",
    "threat": "informed",
    "criteria": {"candidates": 10},
    "metrics": {"psnr": "psnr", "mse": "mse", "worst": "test_tuning:Watching"},
    "controls": ["floor"],
}
LEVELS = {"attack.level": Range(0.05, 1.0)}


@pytest.fixture(autouse=True)
def _forget():
    TRUTHS.clear()
    PUBLIC.clear()


def audit(**changes):
    return spec.parse({**DOCUMENT, **changes})


def numbers(x):
    """Which images these are."""
    return {round((float(one.mean()) - 0.7) * 1e4) for one in x}


def told(function, *arguments, **named):
    with pytest.raises(UsageError) as caught:
        function(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def tune(capsys):
    """Run `leakgauge tune` in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["tune", *map(str, arguments), "--device", "cpu", "--workers", "1"])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return call


@pytest.mark.parametrize("training", [0, 2])
@pytest.mark.parametrize("batch", [{"size": 2}, {"indices": [4, 9]}, {"size": 2, "labels": "unique"}])
def test_rehearsals_have_just_the_examples_that_the_adversary_of_the_audit_holds(training, batch):
    one = audit(training=training, batch=batch)
    scene, plan = spec.prepare(one)
    run(scene, plan)
    held = numbers(PUBLIC[0].x)  # what the attack was given in the audit itself
    secret = numbers(scene.secret.x)
    assert not held & secret
    assert len(held) == (60 - 2 if not training else 29) - 2 - 9, "neither lessons, nor decoys, nor line-up"
    for rehearsal in rehearsals(one, 4):
        assert numbers(rehearsal.parts.data.load().x) == held
        again, _ = spec.prepare(rehearsal)
        assert len(again.secret) == 2
        assert len(set(again.secret.y.tolist())) == 2 or batch.get("labels") != "unique"
        assert numbers(again.secret.x) | numbers(again.public.x) <= held


def test_no_copy_of_the_secret_is_rehearsed():
    one = audit(data={"name": "test_tuning:Grays", "copies": 2}, batch={"indices": [7]})
    (rehearsal,) = rehearsals(one, 1)
    pool = rehearsal.parts.data.load()
    assert 7 not in numbers(pool.x)
    assert pool.inputs == one.parts.data.load().inputs
    assert pool.class_names == ("a", "b", "c")


def test_tuning_never_sees_the_secret():
    one = audit()
    secret = numbers(spec.prepare(one)[0].secret.x)
    list(tried(one, LEVELS, trials=6, batches=3, by="worst"))
    seen = [*TRUTHS, *(public.x for public in PUBLIC)]
    assert len(seen) > 30
    assert all(not numbers(x) & secret for x in seen if x.shape[1:] == (1, 4, 4))
    TRUTHS.clear()
    run(*spec.prepare(one))
    assert numbers(TRUTHS[0]) == secret, "or this test would not notice"


def test_with_little_data_there_is_still_some_to_rehearse_on_but_never_the_secret():
    one = audit(data={"name": "test_tuning:Grays", "count": 12})
    held = rehearsals(one, 1)[0].parts.data.load()
    assert numbers(held.x) < set(range(12)) - numbers(spec.prepare(one)[0].secret.x)
    few = audit(data={"name": "test_tuning:Grays", "count": 5})
    assert "data: leaves 3 public examples beside the secret, expected at least 4" in told(tuned, few, LEVELS)


def test_rehearsals_keep_the_setting():
    one = audit(training=3, defenses=[{"name": "clipping", "norm": 0.5}], rounds=2, control="mean_image")
    first, second = rehearsals(one, 2, frozenset({"mse"}))
    assert first.parts.seed != second.parts.seed != one.parts.seed
    kinds = ("victim", "training", "client", "defenses", "rounds", "threat", "attack", "criteria")
    assert all(first.config[kind] == second.config[kind] == one.config[kind] for kind in kinds)
    assert (first.parts.control, first.parts.controls, list(first.parts.metrics)) == (None, frozenset(), ["psnr", "mse"])
    assert rehearsals(one, 2)[0].config["data"] == first.config["data"]
    assert spec.key(spec.parse(spec.canonical(first))) == spec.key(first), "a worker reads it back"


def test_the_audits_own_settings_are_the_first_trial():
    one = audit(attack={"name": "test_tuning:Level", "level": 0.3})
    first, second = tried(one, LEVELS, trials=2)
    assert (first.number, first.settings) == (0, {"attack.level": 0.3})
    assert spec.key(kept(one, first)) == spec.key(one)
    expected = [statistics.fmean(-10 * math.log10((0.3 - x) ** 2) for x in grays) for grays in grays_of(rehearsals(one, 2))]
    assert first.scores == pytest.approx(expected, rel=1e-3)
    assert first.score == pytest.approx(statistics.median(expected), rel=1e-3)
    assert second.settings != first.settings
    assert tuned(one, LEVELS, trials=1) == one


def grays_of(specs):
    return [[float(x.mean()) for x in spec.prepare(one)[0].secret.x] for one in specs]


def test_the_best_settings_are_found():
    found = tuned(audit(), LEVELS, trials=25)
    assert found.parts.attack.level == pytest.approx(0.7, abs=0.07)
    assert replace(found.parts.attack, level=0.1) == audit().parts.attack
    assert found.parts.data == Grays(), "the audit itself, not a rehearsal"
    error = tuned(audit(), LEVELS, trials=25, by="mse")
    assert error.parts.attack.level == pytest.approx(0.7, abs=0.07), "less is better, as the metric itself tells"


def test_tuning_never_comes_out_worse_than_the_audit_was():
    trials = list(tried(audit(attack={"name": "test_tuning:Level", "level": 0.702}), {"attack.level": Range(0.01, 0.2)}, trials=5))
    assert best(trials) is trials[0]
    same = [replace(trials[0], number=number) for number in range(3)]
    assert best(same).number == 0, "the earliest among equals"


def test_one_budget_for_every_attack():
    ran = []
    for attack, ranges in (("test_tuning:Level", LEVELS), ("dlg", {"attack.restarts": Range(1, 2)})):
        asked = []

        def note(specs, asked=asked):
            asked.append(specs)
            return [record(attack=trial()) for _ in specs]

        assert len(list(tried(audit(attack=attack), ranges, note, trials=7, batches=3))) == 7
        assert [len(specs) for specs in asked] == [3] * 7
        ran.append([[(one.parts.seed, grays_of([one])) for one in specs] for specs in asked])
    assert ran[0] == ran[1]
    assert ran[0] == [ran[0][0]] * 7, "the same batches, in every trial"


def test_a_trial_without_a_score_is_the_worst():
    trials = list(tried(audit(), {"attack.level": Choice((0.2, 0.95))}, trials=6))
    assert {one.score is None for one in trials if one.settings["attack.level"] == 0.95} == {True}
    assert best(trials).settings["attack.level"] == 0.2
    psnr = Goal("psnr", is_more_better=True)
    assert psnr.merit((10.0, None, 14.0)) == 10.0
    assert psnr.merit((10.0, None)) == -math.inf
    assert Goal("mse", is_more_better=False).merit((0.1, 0.3)) == -0.2


def test_a_metric_may_be_taken_against_what_the_client_trained_on():
    one = audit(defenses=["mixup"])
    plain, changed = (next(tried(one, LEVELS, by=by)) for by in ("worst", "worst_trained"))
    assert plain.scores != changed.scores
    scores = [each.trials[ATTACK].scores for each in tuning.here(rehearsals(one, 2, {"worst"}))]
    assert sum("worst_trained" in each for each in scores) == 1  # one draw leaves its two examples as they are
    assert changed.scores == tuple(statistics.fmean(each.get("worst_trained", each["worst"])) for each in scores)


def test_what_a_rehearsal_scores():
    psnr, loss = Goal("psnr", is_more_better=True), Goal("loss", is_more_better=False)
    assert psnr.of(record(attack=trial(psnr=(30.0, 12.0)))) == 21.0
    assert psnr.of(record(attack=trial(psnr=(30.0, None)))) is None, "leaving out an example must not pay"
    assert loss.of(record(attack=trial(losses=(0.5, None, 0.1)))) == 0.1
    assert loss.of(record(attack=trial(losses=(None,)))) is None
    assert psnr.of(replace(record(), trials={})) is None


def test_the_attacks_own_loss_is_lowered():
    found = tuned(audit(), {"attack.search": Range(0.001, 10.0)}, trials=20, by="loss")
    assert 0.04 < found.parts.attack.search < 0.25


@pytest.mark.parametrize(
    ("attack", "path", "one"),
    [
        ("inverting_gradients", "attack.total_variation", Range(0.001, 0.1)),
        ("matching", "attack.priors.0.weight", Range(0.001, 0.1)),
        ("matching", "attack.likelihood", Choice(("gaussian", "cosine"))),
    ],
)
def test_losses_of_different_objectives_are_not_compared(attack, path, one):
    whole = {"name": "matching", "likelihood": "gaussian", "priors": ["l2"], "space": "pixels", "replay": "granted"}
    whole |= {"labels": "known", "search": {"name": "adam", "steps": 1}}
    base = audit(attack=whole if attack == "matching" else {"name": attack, "steps": 1})
    assert f"by: got 'loss', but {path} changes the objective" in told(tuned, base, {path: one}, by="loss")
    within = {"attack.restarts": Range(1, 2), **({"attack.search.learning_rate": Range(0.1, 1.0)} if attack == "matching" else {})}
    assert len(list(tried(base, within, trials=2, batches=1, by="loss"))) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=0.01..1", ("a.b", Range(0.01, 1))),
        ("a=1e-5..1e-1", ("a", Range(1e-5, 0.1))),
        ("a=-2..3", ("a", Range(-2, 3))),
        ("a=1...5e1", ("a", Range(1, 5.0))),
    ],
)
def test_ranges_are_read(text, expected):
    assert read_range(text) == expected


def test_choices_are_read_as_yaml():
    assert read_choice("a.b=1,2") == ("a.b", Choice((1, 2)))
    assert read_choice("a={name: adam, signed: true},null") == ("a", Choice(({"name": "adam", "signed": True}, None)))


@pytest.mark.parametrize(
    ("reading", "text", "words"),
    [
        (read_range, "attack.steps", "--range: got 'attack.steps', expected key=low..high"),
        (read_range, "a=1", "expected key=low..high"),
        (read_range, "a=low..high", "expected key=low..high"),
        (read_range, "=1..2", "expected key=low..high"),
        (read_range, "a=2..1", "--range a: range: got 2..1, expected the lower end first"),
        (read_choice, "a", "--choice: got 'a', expected key=value,value"),
        (read_choice, "a=", "expected key=value,value"),
        (read_choice, "a=[", "--choice a: no YAML"),
    ],
)
def test_bad_ranges_are_told_in_a_line(reading, text, words):
    assert words in told(reading, text)


@pytest.mark.parametrize(
    ("ranges", "by", "words"),
    [
        ({}, "psnr", "range: got none, expected at least one setting"),
        ({"victim.side": Range(1, 2)}, "psnr", "victim.side: cannot be tuned, expected a setting of the attack"),
        ({"attack.levle": Range(0.1, 1)}, "psnr", "did you mean 'level'?"),
        ({"attack.level": Range(-1, 1)}, "psnr", "at attack.level=-1: attack.level: got -1"),
        ({"attack.restarts": Range(0.5, 2)}, "psnr", "attack.restarts: got 0.5, expected an integer"),
        ({"attack.level": Choice((0.1, "much"))}, "psnr", "attack.level: got 'much', expected a number"),
        (LEVELS, "pnsr", "by: got 'pnsr', expected loss or a metric of the audit, did you mean 'psnr'?"),
    ],
)
def test_what_cannot_be_tuned_is_told_before_anything_runs(ranges, by, words):
    def never(specs):
        raise AssertionError(specs)

    assert words in told(tuned, audit(), ranges, never, by=by)


def test_an_audit_that_cannot_be_rehearsed_is_told_at_once():
    ranges = {"attack.restarts": Range(1, 2)}
    failing = [record(status="out_of_scope")] * 2
    assert "attack: cannot be rehearsed as it is (Because.)" in told(tuned, audit(), ranges, lambda specs: failing)
    nothing = [record(attack=trial(losses=(None,)))] * 2
    assert "by: got 'loss', which this attack has no value of" in told(tuned, audit(), ranges, lambda specs: nothing, by="loss")
    diverged = [record(attack=trial(psnr=(None, None)), status="diverged")] * 2
    assert "attack: none of 3 trials has a score" in told(tuned, audit(), ranges, lambda specs: diverged, trials=3)


def test_proposals_are_within_their_ranges_and_the_same_for_the_same_past():
    ranges = {
        "a": Range(1e-4, 1.0),
        "b": Range(-1.0, 1.0),
        "n": Range(1, 6, is_integer=True),
        "c": Choice(({"name": "adam"}, None, 3)),
    }
    past = []
    for number in range(30):
        found = proposed(ranges, past, seed=3)
        assert found == proposed(ranges, past, seed=3)
        past.append((found, -math.inf if number % 7 == 0 else found["b"]))
        assert 1e-4 <= found["a"] <= 1
        assert float(f"{found['a']:.3g}") == found["a"]
        assert -1 <= found["b"] <= 1
        assert found["n"] in range(1, 7)
        assert isinstance(found["n"], int)
        assert found["c"] in ranges["c"].values
    assert proposed(ranges, [], seed=3) != proposed(ranges, [], seed=4)
    alone = [proposed({"a": Range(1e-4, 1.0)}, [({"a": 5.0}, 0.0)] * number, seed=0)["a"] for number in range(80)]
    assert 1e-3 < statistics.median(alone) < 1e-1, "on a logarithmic scale, where what lies elsewhere tells nothing"


@pytest.mark.parametrize("sign", [1, -1])
def test_the_past_tells_where_to_look(sign):
    past = []
    for number in range(16):
        found = proposed({"b": Range(-1.0, 1.0)}, past, seed=sign)
        past.append((found, -math.inf if number % 7 == 0 else sign * found["b"]))
    assert statistics.median(sign * settings["b"] for settings, _ in past[8:]) > 0.5


def test_the_first_proposals_depend_on_no_merit():
    for number in range(RANDOM):
        one, other = (proposed({"b": Range(-1.0, 1.0)}, [({"b": 0.9}, merit)] * number, seed=0) for merit in (0.0, 9.0))
        assert one == other


def test_whole_numbers_stay_whole():
    settings = [one.settings["attack.restarts"] for one in tried(audit(), {"attack.restarts": Range(1, 4)}, trials=6)]
    assert all(type(value) is int for value in settings)
    assert len(set(settings)) > 1


def test_without_optuna_the_extra_is_named_before_anything_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    def never(specs):
        raise AssertionError(specs)

    with pytest.raises(MissingExtra, match=r"tuning .*pip install 'leakgauge\[tune\]'"):
        tuned(audit(), LEVELS, never)


def written(out):
    """When each record was written, by its key."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/record.json")}


def test_the_command_tunes_resumes_and_writes_an_audit(tune, tmp_path):
    file, out = tmp_path / "audit.yaml", tmp_path / "out"
    file.write_text(write_yaml(DOCUMENT))
    options = [file, "--range", "attack.level=0.05..1", "--choice", "attack.search=1.0,2.0", "--batches", "1", "--out", out]
    code, said, progress = tune(*options, "--trials", "2")
    assert code == 0
    assert "Budget: 2 trials of 1 rehearsals, 2 attacks in all" in said
    assert progress.splitlines()[0].startswith("trial 1 of 2: psnr ")
    store = Store(out)
    before = written(out)
    code, said, _ = tune(*options, "--trials", "4")
    assert code == 0
    after = written(out)
    assert len(before) == 2
    assert len(after) == 4
    assert before.items() <= after.items(), "nothing is run twice"
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert [row["keys"] for row in rows[:2]] == [key for key in (row["keys"] for row in rows) if key in before]
    assert (float(rows[0]["attack.level"]), float(rows[0]["attack.search"])) == (0.1, 3.0)
    first = store.load(rows[0]["keys"]).trials[ATTACK].scores["psnr"]
    assert float(rows[0]["psnr"]) == float(rows[0]["psnr 1"]) == statistics.fmean(first)
    top = max(rows, key=lambda row: float(row["psnr"] or "-inf"))
    made = spec.load(out / "tuned.yaml")
    assert (made.name, made.parts.attack.level) == ("grays, tuned", float(top["attack.level"]))
    assert spec.key(made) == spec.key(
        tuning.changed(audit(), {path: float(top[path]) for path in ("attack.level", "attack.search")})
    )
    assert f"Best: trial {top['trial']}, psnr" in said
    kept_bytes = (out / "tuned.yaml").read_bytes(), (out / "trials.csv").read_bytes()
    tune(*options, "--trials", "4")
    assert ((out / "tuned.yaml").read_bytes(), (out / "trials.csv").read_bytes()) == kept_bytes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "range: got none"),
        (["--range", "attack.level=1..x"], "--range: got"),
        (["--range", "attack.level=0..1", "--choice", "attack.level=1,2"], "attack.level: is tuned twice"),
        (["--range", "attack.level=0.1..1", "--by", "loss"], "attack.level changes the objective"),
        (["--range", "attack.level=0.1..1", "-s", "data.count=5"], "data: leaves 3 public examples"),
    ],
)
def test_errors_of_the_command_are_one_line_and_exit_code_2(tune, tmp_path, arguments, words):
    (tmp_path / "audit.yaml").write_text(write_yaml(DOCUMENT))
    code, said, errors = tune(tmp_path / "audit.yaml", "-o", tmp_path / "out", *arguments)
    assert code == 2
    assert words in errors
    assert said == ""
    assert errors.count("\n") == 1
