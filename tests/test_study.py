"""Studies: what is asked comes out as audits, and claims are judged on all of them or not at all."""

import json
import re
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from samples import SETTING, failed, record, trial
from scipy.stats import ttest_1samp

from leakgauge.auditing.record import ATTACK, CONTROL, FLOOR, LIMIT
from leakgauge.cli import main
from leakgauge.core import registry
from leakgauge.core.abilities import Limited
from leakgauge.core.errors import UsageError
from leakgauge.core.statistics import mean_interval
from leakgauge.core.types import Status
from leakgauge.federation.evaluation import Accuracy
from leakgauge.federation.running import Curve, Point
from leakgauge.report.curves import curves
from leakgauge.report.study import render_study, to_markdown, write_study
from leakgauge.studying import (
    ROUND,
    Block,
    Claim,
    LeftOut,
    Results,
    Statistic,
    Study,
    Unsettled,
    View,
    cases,
    conclude,
    levels,
    trainings,
)
from leakgauge.studying.samples import worst_of

BASE = {"data": {"name": "photographs", "size": 32}, "batch": {"size": 2}, "victim": "lenet", "attack": "dlg"}
BLOCK = Block(
    name="rates",
    base=BASE,
    factors={
        "attack": {"DLG": {}, "GI": {"attack": "inverting_gradients", "threat": "adaptive"}},
        "rate": levels("client", ["fedsgd"]) | {0.5: {"client": {"name": "fedavg", "optimizer": {"learning_rate": 0.5}}}},
        "seed": levels("seed", range(3)),
    },
    quick={"seed": (0, 2), "attack": ("GI",)},
)
VIEW = View(title="By rate", block="rates", x="rate", by="attack", trials=(ATTACK, FLOOR))


def gain(found):
    return found.of("rates", {"attack": "GI"}).minus(found.of("rates", {"attack": "DLG"}))


def study(*claims, block=BLOCK, views=(VIEW,)):
    return Study(question="Is it so?", blocks=(block,), views=views, claims=claims)


ABOVE = Claim(text="GI is better", measure=gain, at_least=4.0)


def records(found, psnr=lambda point, example: 10.0 + 5 * (point["attack"] == "GI") + point["seed"] + example):
    return {
        case.key: record(case.key, attack=trial(tuple(psnr(case.levels, example) for example in range(2)), label_accuracy=0.5))
        for case in found
    }


def whole(case):
    """A record as it would be: of as many examples, with the metrics and the trials that its audit asks for, and no others."""
    parts = case.spec.parts
    examples = parts.batch.size or len(parts.batch.indices)
    names = {ATTACK, *({"positive": CONTROL}.get(control, control) for control in parts.controls if control != LIMIT)}
    changed = [
        f"{metric}_trained" for metric in parts.metrics if {"ats", "mixup"} & {one["name"] for one in case.spec.config["defenses"]}
    ]
    scores = dict.fromkeys([*parts.metrics, *changed], (0.5,) * examples)
    one = replace(trial(), scores=scores, ranks=(2,) * examples, label_accuracy=0.5)
    if LIMIT in parts.controls and isinstance(
        parts.attack, Limited
    ):  # what an attack can make at best is told of every one that has such a limit
        names.add(LIMIT)
    return record(case.key, trials=dict.fromkeys(names, one), setting=replace(SETTING, examples=examples))


def learned(course):
    """A curve as it would be."""
    keeps = any(one["name"] == "key_lock" for one in course.spec.config["defenses"])
    rounds = (*range(course.spec.every, course.spec.rounds, course.spec.every), course.spec.rounds)
    return Curve(tuple(Point(number, Accuracy(0.5, 0.5, 0.1 if keeps else None), 1.0) for number in rounds))


def concluded(made, found, there, **settings):
    return conclude("tiny", made, found, there, **{"is_quick": False, "command": "leakgauge study tiny", **settings})


def test_every_combination_of_levels_is_an_audit_with_its_changes():
    found = cases(study())
    assert [tuple(case.levels.values()) for case in found][:4] == [("DLG", "fedsgd", seed) for seed in range(3)] + [("DLG", 0.5, 0)]
    assert len({case.key for case in found}) == len(found) == 12
    last = found[-1].spec.config
    assert (last["attack"]["name"], last["threat"]["name"], last["client"]["optimizer"]["learning_rate"], last["seed"]) == (
        "inverting_gradients",
        "adaptive",
        0.5,
        2,
    )


def test_quick_keeps_the_levels_that_it_names_and_changes_the_base():
    found = cases(study(block=replace(BLOCK, briefly={"attack.restarts": 3, "batch.size": 1})), is_quick=True)
    assert {(case.levels["attack"], case.levels["seed"]) for case in found} == {("GI", 0), ("GI", 2)}
    assert {case.levels["rate"] for case in found} == {"fedsgd", 0.5}
    assert {case.spec.parts.batch.size for case in found} == {1}


def test_overrides_change_every_base_and_points_may_be_left_out():
    block = replace(BLOCK, where=lambda point: point["attack"] == "GI" or point["seed"] == 0)
    found = cases(study(block=block), overrides=["data=faces", "batch.size=1"])
    assert len(found) == 2 + 6
    assert {(case.spec.config["data"]["name"], case.spec.parts.batch.size) for case in found} == {("faces", 1)}


def test_what_depends_on_several_factors_is_put_there_last():
    def joint(point):
        return {"seed": 7 if (point["attack"], point["rate"]) == ("GI", 0.5) else point["seed"]}

    for case in cases(study(block=replace(BLOCK, joint=joint))):
        assert case.spec.parts.seed == joint(case.levels)["seed"]


def test_a_point_that_is_no_audit_is_named():
    block = replace(BLOCK, factors={"steps": {"none": {"attack.search.steps": 0}}}, quick={})
    with pytest.raises(UsageError, match=r"at rates, steps none: attack\.search\.steps"):
        cases(study(block=block, views=()))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda: replace(BLOCK, quick={"sed": (0,)}), "no factor is called 'sed', did you mean 'seed'"),
        (lambda: replace(BLOCK, quick={"seed": (7,)}), "seed has no level 7"),
        (lambda: replace(BLOCK, factors={"seed": {}}, quick={}), "no levels"),
        (lambda: study(views=(replace(VIEW, x="seed", log_x=True),)), "not all levels of seed are numbers > 0"),
        (lambda: study(views=(replace(VIEW, block="rate"),)), "did you mean 'rates'"),
        (lambda: study(views=(replace(VIEW, by="attacks"),)), "did you mean 'attack'"),
        (lambda: study(views=(replace(VIEW, trials=("flor",)),)), "did you mean 'floor'"),
        (lambda: Claim(text="So", measure=gain), "no bound"),
        (lambda: Study(question="?", blocks=(BLOCK, BLOCK), views=(), claims=()), "different names"),
    ],
)
def test_what_does_not_fit_together_is_told_when_it_is_made(bad, words):
    with pytest.raises(UsageError, match=words):
        bad()


def test_statistics_are_those_of_all_examples_of_the_levels():
    made = study()
    found = cases(made)
    sample = Results(made.blocks, found, records(found)).of("rates", {"attack": "GI", "seed": (0, 2)})
    assert sorted(sample.scores()) == [15.0, 15.0, 16.0, 16.0, 17.0, 17.0, 18.0, 18.0]
    assert sample.median() == Statistic(16.5, 8)  # of four batches, too few for an interval
    assert sample.share(17.0).value == 0.5
    assert sample.mean() == Statistic(0.5, 4, (0.5, 0.5))
    assert sample.scores(trial=FLOOR) == (9.0, 9.5) * 4
    assert sample.against(FLOOR).value == pytest.approx(16.5 - 9.25)


def test_differences_are_taken_pair_by_pair():
    made = study()
    found = cases(made)
    by_pair = {("fedsgd", 0): 1.0, ("fedsgd", 1): 2.0, ("fedsgd", 2): 9.0, (0.5, 0): 3.0, (0.5, 1): 4.0, (0.5, 2): -7.0}
    there = records(
        found, lambda point, _: 10.0 * point["seed"] + (point["attack"] == "GI") * by_pair[point["rate"], point["seed"]]
    )
    assert gain(Results(made.blocks, found, there)) == Statistic(2.5, 6, (-7.0, 9.0))


def test_cases_that_are_one_audit_count_once_but_pair_with_each():
    """DLG here has one restart wherever the other attack has one or two."""
    starts = {1: {"attack.restarts": 1}, 2: {"attack.restarts": 2}}
    attacks = {"one": {"attack": {"name": "dlg", "restarts": 1}}, "as many": {}}
    made = study(
        block=replace(BLOCK, factors={"starts": starts, "attack": attacks, "seed": levels("seed", range(3))}, quick={}), views=()
    )
    found = cases(made)
    assert (len(found), len({case.key for case in found})) == (12, 6)
    results = Results(made.blocks, found, {case.key: record(case.key) for case in found})
    one, as_many = (results.of("rates", {"attack": attack}) for attack in attacks)
    assert (one.median().count, as_many.median().count) == (2 * 3, 2 * 6)
    assert (one.mean().count, one.against(FLOOR).count) == (3, 3)
    assert as_many.minus(one).count == 6


@pytest.mark.parametrize("values", [(0.2, 0.9), (0.1, 0.4, 0.35, 0.8, 1.0)])
def test_the_interval_of_a_mean_is_that_of_the_t_test(values):
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high))
    assert mean_interval(values[:1]) is None


def test_shares_are_compared_by_pairs_with_one_more_for_either_side():
    made = study()
    found = cases(made)
    there = records(found, lambda point, example: float(point["attack"] == "GI" and point["seed"] > example))
    results = Results(made.blocks, found, there)
    one, other = (results.of("rates", {"attack": attack}) for attack in ("GI", "DLG"))
    expected = ttest_1samp([0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 1.0, -1.0], 0.0).confidence_interval(0.95)
    measured = one.ahead(other, "psnr")
    assert (measured.value, measured.count) == (0.5, 6)
    assert measured.interval == pytest.approx((expected.low, expected.high))
    alike = other.ahead(other, "psnr")
    assert alike.interval is not None
    assert alike.interval[0] < alike.value == 0.0 < alike.interval[1], "that all agree does not exclude that others differ"


def test_what_an_attack_read_off_the_update_is_held_against_what_it_is():
    made = study()
    found = cases(made)
    read = [{"Clipping.norm": (value, 4.0)} for value in (3.0, 4.0, 4.2, 4.4, 8.0)] + [{}]
    there = records(found)
    gi = [case for case in found if case.levels["attack"] == "GI"]
    for case, estimates in zip(gi, read, strict=True):
        there[case.key] = record(case.key, attack=replace(trial(), estimates=estimates))
    measured = Results(made.blocks, found, there).of("rates", {"attack": "GI"}).error("Clipping.norm")
    assert measured.value == pytest.approx((0.1 + 0.25) / 2), "of 0, 0.05, 0.1, 0.25, 1 and, where nothing was read, 1"
    assert measured.count == 6


def test_samples_that_are_no_pairs_are_told():
    made = study()
    found = cases(made)
    results = Results(made.blocks, found, records(found))
    with pytest.raises(UsageError, match="no pairs"):
        results.of("rates", {"attack": "GI"}).minus(results.of("rates", {"attack": "DLG", "seed": 0}))


def test_what_ended_without_a_guess_counts_with_the_worst_score():
    made = study(ABOVE)
    found = cases(made)
    there = records(found)
    nothing = replace(trial(), status="out_of_scope", scores={}, ranks=None, label_accuracy=None)
    there[found[0].key] = record(found[0].key, attack=nothing, status="out_of_scope")
    sample = Results(made.blocks, found, there).of("rates", {"attack": "DLG", "rate": "fedsgd"})
    assert sample.scores() == (0.0, 0.0, 11.0, 12.0, 12.0, 13.0)
    assert sample.scores("mse")[:2] == (1.0, 1.0)
    assert worst_of("ssim_affine_trained") == worst_of("ssim") == -1.0
    assert sample.mean().value == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert sample.mean().interval == (0.0, 1.0)  # a share, whatever the t interval of three numbers says
    assert concluded(made, found, there).tables[0].series[0].cells[0].blank == 1


@pytest.mark.parametrize(("at_least", "result", "code"), [(4.0, "holds", 0), (6.0, "fails", 1)])
def test_a_claim_holds_or_fails_by_what_was_measured(at_least, result, code):
    made = study(replace(ABOVE, at_least=at_least))
    found = cases(made)
    findings = concluded(made, found, records(found))
    (claim,) = findings.claims
    assert (claim.result, claim.measured.value, claim.measured.count, findings.exit_code) == (result, 5.0, 6, code)


@pytest.mark.parametrize(
    ("found", "is_quick", "result", "code"),
    [
        (Statistic(3.3, 100, (3.1, 3.5)), False, "holds", 0),
        (Statistic(3.3, 100, (2.8, 3.8)), False, "too few to tell", 3),
        (Statistic(2.9, 100, (2.8, 3.8)), True, "too few to tell", 0),
        (Statistic(2.0, 100, (1.0, 2.9)), False, "fails", 1),
        (Statistic(2.0, 2), True, "too few to tell", 0),
        (Statistic(9.0, 2), True, "too few to tell", 0),
        (2.0, False, "fails", 1),
        (2.0, True, "too few to tell", 0),
    ],
)
def test_a_claim_is_judged_by_its_interval(found, is_quick, result, code):
    made = study(Claim(text="3 dB better", measure=lambda _: found, at_least=3.0))
    chosen = cases(made, is_quick=is_quick)
    findings = concluded(made, chosen, records(chosen), is_quick=is_quick)
    assert (findings.claims[0].result, findings.exit_code) == (result, code)


@pytest.mark.parametrize("status", ["missing", "failed", "timed_out"])
def test_a_claim_is_not_judged_on_a_part_of_its_audits(status):
    made = study(ABOVE)
    found = cases(made)
    there = records(found)
    del there[found[3].key]
    if status != "missing":
        there[found[3].key] = failed(found[3].key, status=status)
    with pytest.raises(Unsettled, match=r"1 of 6 audits \w+: rates, attack DLG, rate 0.5, seed 0"):
        gain(Results(made.blocks, found, there))
    findings = concluded(made, found, there)
    assert (findings.claims[0].result, findings.exit_code) == ("cannot tell", 3)
    assert [audit.status for audit in findings.audits].count(status) == 1
    cell = findings.tables[0].series[0].cells[1]
    assert (cell.missing, cell.blank, cell.statistic.count) == ((1, 0, 4) if status == "missing" else (0, 1, 6))


def test_a_claim_about_what_quick_drops_is_left_out():
    made = study(ABOVE)
    found = cases(made, is_quick=True)
    with pytest.raises(LeftOut):
        gain(Results(made.blocks, found, records(found), is_quick=True))
    findings = concluded(made, found, records(found), is_quick=True)
    assert (findings.claims[0].result, findings.exit_code) == ("left out", 0)
    assert [series.label for series in findings.tables[0].series] == ["GI", "GI, floor"]


def test_a_control_that_quick_drops_takes_what_is_about_it_along():
    made = study(
        Claim(text="Above the floor", measure=lambda found: found.of("rates").against(FLOOR), at_least=0.0),
        block=replace(BLOCK, briefly={"controls": []}),
        views=(VIEW, replace(VIEW, trials=(FLOOR,))),
    )
    found = cases(made, is_quick=True)
    findings = concluded(made, found, records(found), is_quick=True)
    assert [[series.label for series in table.series] for table in findings.tables] == [["GI"]]
    assert findings.claims[0].result == "left out"
    never = study(*made.claims, block=replace(BLOCK, base={**BASE, "controls": ["blind"]}))
    found = cases(never)
    assert concluded(never, found, records(found)).claims[0].result == "cannot tell"


def test_a_slip_in_a_claim_is_an_error_and_not_left_out():
    made = study()
    found = cases(made)
    results = Results(made.blocks, found, records(found))
    for wanted in ({"attack": "DLM"}, {"atack": "DLG"}):
        with pytest.raises(UsageError):
            results.of("rates", wanted)
    for metric in ("pnsr", "lpips"):
        with pytest.raises(UsageError, match=metric):
            results.of("rates").scores(metric)


def test_a_metric_that_could_not_be_computed_is_no_bad_score():
    made = study()
    found = cases(made)
    broken = {**trial().scores, "lpips": (None, None)}
    there = {case.key: record(case.key, attack=replace(trial(), scores=broken)) for case in found}
    with pytest.raises(UsageError, match="could not compute 'lpips'"):
        Results(made.blocks, found, there).of("rates").scores("lpips")


def test_the_page_says_all_and_loads_nothing(tmp_path):
    made = study(ABOVE, replace(ABOVE, text="Much <better>", at_least=6.0))
    found = cases(made)
    findings = concluded(made, found, records(found))
    page = write_study(findings, tmp_path).read_text()
    assert page == render_study(findings)
    assert "1 of 2 claims holds; 1 refuted" in page
    assert "Much &lt;better&gt;" in page
    assert page.index("Much &lt;better") < page.index("By rate")
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link|src=|https?://(?!www\.w3\.org)", page)
    assert page.count("<svg") == 1
    assert "#01021" not in page
    text = (tmp_path / "study.md").read_text()
    assert text == to_markdown(findings)
    assert "| GI is better | 5 dB (5 to 5; n = 6) | ≥ 4 dB | holds |" in text
    document = json.loads((tmp_path / "study.json").read_text())
    assert [claim["result"] for claim in document["claims"]] == ["holds", "fails"]
    assert len(document["audits"]) == 12
    assert document["audits"][0]["scores"]["attack"]["psnr"] == [10.0, 11.0]


def test_the_markdown_has_its_charts_as_files_that_stand_alone(tmp_path):
    made = study(ABOVE)
    found = cases(made)
    write_study(concluded(made, found, records(found)), tmp_path)
    linked = re.findall(r"!\[By rate\]\((charts/[^)]+)\)", (tmp_path / "study.md").read_text())
    assert [tmp_path / name for name in linked] == [*(tmp_path / "charts").iterdir()]
    drawing = (tmp_path / linked[0]).read_text()
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert set(re.findall(r"var\((--[\w-]+)\)", drawing)) <= set(re.findall(r"(--[\w-]+):", drawing))
    assert set(re.findall(r"href=\"#([^\"]+)\"|url\(#([^)]+)\)", drawing)[0]) <= {"", *re.findall(r"id=\"([^\"]+)\"", drawing)}


def test_findings_name_no_folder_of_a_machine(tmp_path):
    made = study()
    found = cases(made, overrides=[f"data={{name: npz, path: {tmp_path}/private.npz}}"])
    findings = concluded(made, found, {})
    assert findings.data == ("npz (private.npz)",)
    write_study(findings, tmp_path)
    assert all(str(tmp_path) not in (tmp_path / f"study.{kind}").read_text() for kind in ("html", "md", "json"))


TINY = """
from leakgauge.studying.samples import worst_of
from leakgauge.studying import Block, Claim, Study, View, levels

BASE = {
    "data": {"name": "photographs", "size": 8},
    "batch": {"size": 1},
    "victim": {"name": "mlp", "hidden": [16]},
    "attack": "analytic",
    "controls": ["blind"],
}
BLOCK = Block(name="all", base=BASE, factors={"seed": levels("seed", range(6))}, quick={"seed": (0, 1)})


def study(at_least):
    claim = Claim(text="It is exact", measure=lambda found: found.of("all").median(), at_least=at_least)
    return Study(question="Is it exact?", blocks=(BLOCK,), views=(View(title="PSNR", block="all", x="seed"),), claims=(claim,))


HOLDS, FAILS = study(60.0), study(200.0)
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    (tmp_path / "tiny_study.py").write_text(TINY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("tiny_study", None)


def command(*arguments):
    with pytest.raises(SystemExit) as ending:
        main(["study", *arguments])
    return ending.value.code


def test_a_study_runs_in_parts_and_is_judged_once_all_are_there(tiny, capsys):
    assert command("tiny_study:HOLDS", "--shard", "2/2", "--out", "out", "--device", "cpu") == 3
    told = capsys.readouterr().out
    assert "3 of 6 audits missing" in " ".join(told.split())
    assert "the first at seed 0" in told
    assert command("tiny_study:HOLDS", "--shard", "1/2", "--out", "out", "--device", "cpu") == 0
    assert "3 audits" not in capsys.readouterr().out
    assert command("tiny_study:FAILS", "--out", "out") == 1
    assert "finished before" in capsys.readouterr().err
    assert (tiny / "out" / "study.html").is_file()
    assert json.loads((tiny / "out" / "study.json").read_text())["claims"][0]["result"] == "fails"


def test_a_study_takes_other_data_and_leaves_the_page_by_its_name(tiny):
    rng = np.random.default_rng(0)
    np.savez(tiny / "other.npz", x=rng.random((8, 1, 4, 4), dtype=np.float32), y=np.arange(8) % 2)
    assert command("tiny_study:HOLDS", "--quick", "--data", "other.npz", "--set", "victim.hidden=[8]", "--device", "cpu") == 0
    text = (tiny / "leakgauge-studies" / "tiny_study-HOLDS" / "study.md").read_text()
    assert "2 audits on npz (other.npz)" in text
    assert "leakgauge study tiny_study:HOLDS --quick --data other.npz --set 'victim.hidden=[8]'" in text


def test_without_a_name_the_studies_are_listed_with_their_questions(capsys):
    assert command() == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in registry.entries(registry.STUDY))
    with pytest.raises(SystemExit):
        main(["list", "study"])
    assert "study" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lineal",), "no study is called 'lineal', did you mean 'linear'"),
        (("tiny_study:BLOCK",), "is of type Block, expected a leakgauge.studying.Study"),
        (("tiny_study:HOLDS", "--set", "victim.hiden=3"), "victim.hiden"),
        (("tiny_study:HOLDS", "--shard", "3/2"), "shard: got '3/2'"),
        (("tiny_study:HOLDS", "--data", "nowhere.npz"), "nowhere.npz"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tiny, capsys, arguments, words):
    assert command(*arguments, "--device", "cpu", "--quick") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert words in line


@pytest.mark.parametrize("view", [VIEW, replace(VIEW, x="seed"), replace(VIEW, x="seed", by=None, statistic="share")])
def test_a_chart_has_no_color_of_its_own(view):
    """So that it can be read on a dark page as on a light one."""
    made = study(views=(view,))
    found = cases(made)
    (table,) = concluded(made, found, records(found)).tables
    drawing = curves(table, "view-1")
    assert set(re.findall(r"(?:fill|stroke): (?!none)([^;\"]+)", drawing)) <= {
        f"var(--{name})" for name in ("ink", "line", "muted", *(f"series-{place}" for place in range(1, 7)))
    }
    for style in re.findall(r"<text([^>]*)>", drawing):
        assert "fill: var(--" in style
    assert concluded(made, found, {}).tables[0].series
    assert curves(concluded(made, found, {}).tables[0], "view-1") == ""


@pytest.mark.parametrize("name", registry.entries(registry.STUDY))
@pytest.mark.parametrize("is_quick", [False, True], ids=["full", "quick"])
def test_every_shipped_study_is_sound(name, is_quick):
    """Its audits are audits, and every claim is judged once all of them are there."""
    made = registry.find(registry.STUDY, name)
    assert made.question.endswith("?")
    found = cases(made, is_quick=is_quick)
    there = {case.key: whole(case) for case in found}
    courses = trainings(made, is_quick=is_quick)
    findings = concluded(made, found, there, is_quick=is_quick, courses=courses, curves={one.key: learned(one) for one in courses})
    assert found
    assert findings.claims
    judged = {"holds", "fails", "too few to tell"}
    assert {claim.result for claim in findings.claims} <= (judged | {"left out"} if is_quick else judged)
    assert all(any(cell.statistic for cell in series.cells) for table in findings.tables for series in table.series)
    assert is_quick or len(findings.tables) == len(made.views)
    empty = concluded(made, found, {}, is_quick=is_quick)
    assert {claim.result for claim in empty.claims} <= {"cannot tell", "left out"}
    render_study(findings), render_study(empty)


# Trainings

LOCKS = {"name": "key_locked", "victim": {"name": "cnn", "width": 2, "hidden": 4}, "length": 8}
SCHOOL = Block(
    name="training",
    base={"data": {"name": "photographs", "size": 32}, "victim": LOCKS, "clients": 2, "rounds": 20, "client": "fedsgd"},
    factors={
        "lock": {"kept": {"defenses": ["key_lock"]}, "none": {"victim": LOCKS["victim"]}},
        "seed": levels("seed", range(3)),
    },
    quick={"seed": (0,)},
    briefly={"rounds": 2, "every": 1, "client": {"name": "fedsgd", "batchnorm": "train"}},
)
BY_ROUND = View(title="Accuracy by round", block="training", x=ROUND, by="lock", score="client_accuracy", statistic="mean")
BY_LOCK = View(title="With a wrong key", block="training", x="lock", score="server_accuracy", statistic="mean")
COST = Claim(
    text="A lock costs at most 2 points",
    measure=lambda found: found.trained("training", {"lock": "none"}).minus(found.trained("training", {"lock": "kept"})).times(100),
    at_most=2.0,
    unit="points",
)
SCHOOLED = Study(question="?", blocks=(BLOCK,), trainings=(SCHOOL,), views=(VIEW, BY_ROUND, BY_LOCK), claims=(COST,))


def curve(course, *, server=0.1):
    kept = course.levels["lock"] == "kept"
    best = 0.6 + 0.1 * course.levels["seed"] - 0.01 * (1 + course.levels["seed"]) * kept
    return Curve(
        tuple(Point(number, Accuracy(server, best - (20 - number) / 100, 0.1 if kept else None), 2.0) for number in (10, 20))
    )


def test_trainings_are_compared_in_pairs_and_shown_by_round():
    courses, found = trainings(SCHOOLED), cases(SCHOOLED)
    assert len({one.key for one in courses}) == 6
    curves = {one.key: curve(one) for one in courses}
    findings = conclude("?", SCHOOLED, found, records(found), is_quick=False, command="", courses=courses, curves=curves)
    (cost,) = findings.claims
    assert cost.result == "too few to tell"
    assert (cost.measured.value, cost.measured.count) == (pytest.approx(2.0), 3)
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert cost.measured.interval == (pytest.approx(low), pytest.approx(high))
    by_round, by_lock = findings.tables[1:]
    assert (by_round.levels, [one.label for one in by_round.series]) == ((10, 20), ["kept", "none"])
    assert [cell.statistic.value for cell in by_round.series[1].cells] == pytest.approx([0.6, 0.7])
    assert by_lock.series[0].cells[0].statistic == Statistic(pytest.approx(0.1), 3, (pytest.approx(0.1), pytest.approx(0.1)))
    assert findings.seconds == sum(one.seconds for one in records(found).values()) + 6 * 20 * 2.0
    page, text = render_study(findings), to_markdown(findings)
    assert "12 audits and 6 trainings" in text
    assert "| none | 60.0%" in text
    assert "the number of trainings" in page


def test_a_training_that_diverged_has_no_accuracy_and_no_claim_rests_on_it():
    """Counted as 0, it would bear out that a wrong key is of no use, and that a defense costs nothing."""
    courses, found = trainings(SCHOOLED), cases(SCHOOLED)
    curves = {one.key: curve(one) for one in courses}
    curves[courses[0].key] = Curve(curves[courses[0].key].points[:1], Status.DIVERGED, 14)
    made = Results(SCHOOLED.every, (), {}, courses=courses, curves=curves)
    with pytest.raises(Unsettled, match="1 of 3 trainings diverged: training, lock kept, seed 0"):
        made.trained("training", {"lock": "kept"})
    assert made.select_trainings("training", {"lock": "kept"}).values() == pytest.approx((0.68, 0.77))
    findings = conclude("?", SCHOOLED, found, records(found), is_quick=False, command="", courses=courses, curves=curves)
    assert findings.claims[0].result == "cannot tell"
    assert [(cell.statistic.count, cell.blank) for cell in findings.tables[1].series[0].cells] == [(3, 0), (2, 1)]
    text = to_markdown(findings)
    assert "1 diverged" in text
    assert "What diverged has no accuracy from then on, and is in no mean." in text


def test_a_training_that_is_missing_is_told():
    courses = trainings(SCHOOLED)
    curves = {one.key: curve(one) for one in courses}
    del curves[courses[1].key]
    made = Results(SCHOOLED.every, (), {}, courses=courses, curves=curves)
    with pytest.raises(Unsettled, match="1 of 3 trainings missing: training, lock kept, seed 1"):
        made.trained("training", {"lock": "kept"})
    with pytest.raises(LeftOut):
        replace(made, is_quick=True).trained("training", {"seed": 2})
    with pytest.raises(UsageError, match="no client keeps anything"):
        made.trained("training", {"lock": "none"}).mean("stranger_accuracy")
    with pytest.raises(UsageError, match="did you mean 'client_accuracy'"):
        made.trained("training", {"lock": "none"}).mean("client_acuracy")


def test_an_override_changes_what_has_such_a_setting():
    changes = ["rounds=30", "attack.restarts=7", "data=faces"]
    assert {(one.spec.rounds, one.spec.config["data"]["name"]) for one in trainings(SCHOOLED, overrides=changes)} == {(30, "faces")}
    dlg = [case.spec.config for case in cases(SCHOOLED, overrides=changes) if case.levels["attack"] == "DLG"]
    assert {(one["attack"]["restarts"], one["data"]["name"]) for one in dlg} == {(7, "faces")}
    with pytest.raises(UsageError, match="round"):
        cases(SCHOOLED, overrides=["round=3"])
    with pytest.raises(UsageError, match="clients"):
        cases(study(), overrides=["clients=3"])  # in a study without trainings, nothing has such a setting
    with pytest.raises(UsageError, match="attack"):
        trainings(replace(SCHOOLED, blocks=(), views=()), overrides=["attack=dlg"])


@pytest.mark.parametrize("trials", [(ATTACK, FLOOR), (ATTACK,)])
def test_a_view_that_is_fixed_to_one_line_shows_no_other(trials):
    made = study(views=(replace(VIEW, only={"attack": "GI"}, trials=trials),))
    found = cases(made)
    (table,) = concluded(made, found, records(found)).tables
    assert [one.label for one in table.series] == ["GI", "GI, floor"][: len(trials)]


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (replace(BY_ROUND, score="psnr"), "got the mean of 'psnr', expected the mean of server_accuracy"),
        (replace(BY_ROUND, statistic="median"), "got the median of 'client_accuracy'"),
        (replace(VIEW, score="client_accuracy", statistic="mean"), "expected a score of audits"),
        (replace(BY_ROUND, x="rounds"), "no factor is called 'rounds'"),
        (replace(VIEW, x=ROUND), "no factor is called 'round'"),
    ],
)
def test_a_view_of_trainings_shows_accuracies(view, words):
    with pytest.raises(UsageError, match=words):
        replace(SCHOOLED, views=(view,))


def test_trainings_of_a_study_run_beside_its_audits_and_are_found_again(tmp_path, capsys, monkeypatch):
    small = replace(SCHOOLED, blocks=(), views=(BY_ROUND, BY_LOCK))
    monkeypatch.setattr("leakgauge.cli.studying._load", lambda name: small)
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["study", "small", "--quick", "--out", str(tmp_path), "--workers", "2"])
        assert end.value.code == 0
    told = json.loads((tmp_path / "study.json").read_text())
    assert [(one["status"], len(one["points"])) for one in told["trainings"]] == [("ok", 2), ("ok", 2)]
    assert all(point["accuracy"]["stranger"] is not None for point in told["trainings"][0]["points"])
    assert "too few to tell" in capsys.readouterr().out
