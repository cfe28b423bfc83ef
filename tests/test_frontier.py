"""What defenses cost and buy: the same options are trained and attacked, and nothing is said that was not measured."""

import json
import math
import sys
from collections import Counter
from dataclasses import replace

import pytest
from samples import record

from leakgauge.cli import main
from leakgauge.cli.frontier import EXAMPLE
from leakgauge.core.accounting import privacy_loss
from leakgauge.core.errors import MissingExtra, UsageError
from leakgauge.core.statistics import wilson
from leakgauge.core.types import Status
from leakgauge.federation.evaluation import Accuracy
from leakgauge.federation.running import Curve, Point
from leakgauge.frontier.document import load, parse
from leakgauge.frontier.finding import conclude
from leakgauge.frontier.page import chart, to_markdown, write_frontier
from leakgauge.frontier.privacy import guaranteed
from leakgauge.frontier.running import Measured

DOCUMENT = {
    "name": "small",
    "data": {"name": "mnist", "part": "test"},
    "victim": {"name": "mlp", "hidden": [16]},
    "batch": 1,
    "federation": {"clients": 4, "rounds": 80, "server": {"name": "sgd", "learning_rate": 0.5}},
    "audits": {"seeds": 2, "criteria": {"candidates": 200}},
    "attacks": {"analytic": "analytic", "nothing": "mean_image"},
    "defenses": {
        "none": {"": {}},
        "noise": {"1": {"defenses": [{"name": "gaussian_noise", "sigma": 1.0}]}},
        "rate": {"1e20": {"federation.server.learning_rate": 1e20}},
        "batch": {"4": {"batch": 4}},
    },
}


def test_a_defense_is_what_it_changes_in_training_and_audits_alike():
    options = {option.name: option for option in parse(DOCUMENT).options}
    assert list(options) == ["none", "noise 1", "rate 1e20", "batch 4"]
    assert options["batch 4"].federation.parts.examples == options["batch 4"].audits["analytic"][0].parts.batch.size == 4
    noise = options["noise 1"]
    assert noise.federation.parts.defenses == noise.audits["nothing"][1].parts.defenses
    assert [spec.parts.seed for spec in noise.audits["analytic"]] == [0, 1]
    assert {spec.parts.threat.name for spec in noise.audits["analytic"]} == {"adaptive"}


def test_the_example_that_comes_along_has_ten_defenses_at_three_strengths():
    strengths = Counter(option.defense for option in load(EXAMPLE).options)
    assert sum(count >= 3 for count in strengths.values()) >= 10
    assert strengths["none"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"defenses": {}}, "defenses: got {}, expected a mapping from a name to its strengths"),
        ({"defenses": {"noise": 3}}, "defenses.noise: got 3, expected a mapping from a strength"),
        ({"defenses": {"noise": {"1": []}}}, "defenses.noise.1: got []"),
        ({"defenses": {"noise": {"1": {"defenses": ["nois"]}}}}, "at noise 1: defenses.0: "),
        ({"attacks": {}}, "attacks: got {}"),
        ({"quick": 3}, "quick: got 3, expected what a short run changes"),
        ({"audits": {"seeds": 0}}, "audits.seeds: got 0, expected a number >= 1"),
        ({"audits": {"seed": 1}}, "audits.seed: got 1, but there is no such setting; did you mean 'seeds'"),
        ({"federation": {"round": 1}}, "federation.round: got 1, but there is no such setting; did you mean 'rounds'"),
        ({"batches": 1}, "batches: got 1, but a frontier has no such setting; did you mean 'batch'"),
    ],
)
def test_what_is_wrong_is_told(changes, words):
    with pytest.raises(UsageError) as told:
        parse({**DOCUMENT, **changes})
    assert words in str(told.value)


def test_a_short_run_changes_what_the_file_says():
    short = parse({**DOCUMENT, "quick": {"federation.rounds": 5, "audits.seeds": 1}}, is_quick=True)
    assert {option.federation.rounds for option in short.options} == {5}
    assert {len(audits) for option in short.options for audits in option.audits.values()} == {1}
    assert short.is_quick
    assert {option.federation.rounds for option in parse({**DOCUMENT, "quick": {"federation.rounds": 5}}).options} == {80}


def measured(option, accuracy, outcomes, psnr, status=Status.OK):
    records = []
    for place, (outcome, value) in enumerate(zip(outcomes, psnr, strict=True)):
        one = record(f"{option.name}-{place}")
        trials = {name: replace(trial, scores={"psnr": (value, None)}) for name, trial in one.trials.items()}
        records.append((replace(one, verdict=replace(one.verdict, outcome=outcome), trials=trials),))
    points = (Point(80, Accuracy(0.1, accuracy), 0.5),)
    return Measured(option, Curve(points, status), 200, tuple(records))


LEAK, NONE, DOUBT = "leaks", "no leak found by these attacks", "inconclusive"


def test_who_is_beaten_and_what_is_recommended():
    frontier = parse(DOCUMENT)
    none, noise, diverged, batch = frontier.options
    found = conclude(
        frontier,
        [
            measured(none, 0.9, [LEAK, LEAK], [40.0, 30.0]),
            measured(noise, 0.8, [NONE, NONE], [8.0, 9.0]),
            measured(diverged, 0.9, [NONE, NONE], [8.0, 9.0], status=Status.DIVERGED),
            measured(batch, 0.7, [NONE, DOUBT], [10.0, 9.0]),
        ],
        command="leakgauge frontier",
    )
    assert [row.is_best for row in found.rows] == [True, True, False, False]
    assert [(row.leaked, row.undecided) for row in found.rows] == [(2, 0), (0, 0), (0, 0), (0, 1)]
    assert found.rows[0].accuracy_interval == wilson(180, 200)
    assert found.rows[2].accuracy is None
    assert found.recommendation.startswith("noise 1: of the 1 options behind which these attacks found nothing in 2 updates")
    assert "up to 66% of all may still leak" in found.recommendation
    assert "diverged" in to_markdown(found)
    leaky = conclude(frontier, [measured(one, 0.9, [LEAK], [30.0]) for one in frontier.options], command="")
    assert "none can be recommended" in leaky.recommendation


def test_a_guarantee_is_that_of_the_client_whose_examples_are_used_most():
    defended = {"dp": {"1": {"defenses": [{"name": "dp_sgd", "noise_multiplier": 1.0}], "batch": 2}}}
    (gradient,) = parse({**DOCUMENT, "defenses": defended}).options
    local = {"name": "fedavg", "epochs": 3, "batch_size": 5}
    (trained,) = parse({**DOCUMENT, "client": local, "defenses": {"dp": {"1": {**defended["dp"]["1"], "batch": 15}}}}).options
    assert guaranteed(gradient, [300, 200]) == privacy_loss(1.0, 2 / 200, 80, 1e-5)
    assert guaranteed(trained, [300, 200]) == privacy_loss(1.0, 5 / 200, 80 * 3 * 3, 1e-5)
    assert guaranteed(parse(DOCUMENT).options[1], [300, 200]) is None


def test_the_privacy_loss_is_that_of_the_gaussian_mechanism():
    """Without sampling the order a of Rényi has the loss T a / (2 sigma^2); the conversion is that of Canonne et al. (2020)."""
    sigma, steps, delta = 2.0, 10, 1e-5
    orders = [1 + step / 10 for step in range(1, 100)] + list(range(12, 64))
    expected = min(
        steps * one / (2 * sigma**2) - (math.log(delta) + math.log(one)) / (one - 1) + math.log((one - 1) / one) for one in orders
    )
    assert privacy_loss(sigma, 1.0, steps, delta).epsilon == pytest.approx(expected, rel=1e-6)
    assert privacy_loss(sigma, 0.1, steps, delta).epsilon < expected / 2
    assert privacy_loss(0.0, 1.0, 1, delta).epsilon == math.inf


def test_without_opacus_a_frontier_says_what_to_install_before_it_begins(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    assert parse(DOCUMENT).options
    with pytest.raises(MissingExtra, match=r"leakgauge\[accounting\]"):
        parse({**DOCUMENT, "defenses": {"dp": {"1": {"defenses": ["dp_sgd"]}}}})


def test_the_page_has_a_row_and_a_mark_for_every_option(tmp_path):
    frontier = parse(DOCUMENT)
    found = conclude(
        frontier, [measured(one, 0.5, [NONE, LEAK], [8.0, 9.0]) for one in frontier.options], command="leakgauge frontier <b>"
    )
    page = write_frontier(found, tmp_path).read_text()
    for option in frontier.options:
        assert page.count(f">{option.name}<") == 2, "in the plot and in the table"
    assert "<b>" not in page
    assert "<script" not in page
    assert json.loads((tmp_path / "frontier.json").read_text())["rows"][0]["leaked"] == 1


def test_of_many_options_the_plot_names_those_that_no_other_beats():
    many = {**DOCUMENT, "defenses": {"batch": {str(size): {"batch": size} for size in range(1, 15)}}}
    frontier = parse(many)
    best = frontier.options[3]
    found = conclude(frontier, [measured(one, 0.9 if one is best else 0.5, [LEAK], [9.0]) for one in frontier.options], command="")
    assert [f">{one.name}<" in chart(found) for one in frontier.options] == [one is best for one in frontier.options]


def test_a_file_is_measured_and_measured_once(tmp_path, capsys, monkeypatch):
    from leakgauge.core.reading import write_yaml

    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(write_yaml(DOCUMENT))
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["frontier", "small.yaml", "--workers", "2"])
        assert end.value.code == 0
    told = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads((tmp_path / "leakgauge-frontier/frontier.json").read_text())["rows"]}
    assert rows["none"]["leaked"] == 2, "one example leaves an MLP as it is"
    assert rows["noise 1"]["leaked"] == 0
    assert rows["none"]["psnr"] > 60 > 20 > rows["noise 1"]["psnr"]
    assert rows["rate 1e20"]["accuracy"] is None
    assert rows["none"]["accuracy"] > 0.2
    assert "diverged" in told
    audits = 3 * 2 * 2  # the rate of the server changes no audit
    assert len(list((tmp_path / "leakgauge-frontier/audits").iterdir())) == audits
