"""The page by model: every sentence on it is a condition that was looked up in the records."""

import json
import re
from dataclasses import replace
from pathlib import PurePath

import pytest
import torch
from samples import SETTING, failed, images, record, trial

from leakgauge.auditing.record import ATTACK, CONTROL, Verdict
from leakgauge.cli import main
from leakgauge.core import tree
from leakgauge.core.registry import entries
from leakgauge.report import render_models
from leakgauge.report.redaction import redacted_record
from leakgauge.report.view import Audited
from leakgauge.results.store import Store

NET = {"name": "cnn", "width": 8}


def text(*records, **options):
    page = render_models([Audited(one, {}) for one in records], **options)
    return " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())


def of(victim, **changes):
    made = record(**{"key": json.dumps(victim)[-6:], **changes})
    return replace(made, spec={**made.spec, "victim": victim})


def test_audits_of_one_model_are_on_one_page():
    same, other = of(NET, seed=1, key="b"), of({"name": "mlp"}, key="c")
    page = text(of(NET, key="a"), same, other)
    assert "2 models" in page
    assert "cnn(width=8)" in page
    assert "2 of 2 audits leak" in page
    assert page.index("cnn(width=8)") < page.index("mlp")


def test_models_from_python_are_told_apart_by_their_weights():
    one, other = (record(key=key, spec={}, setting=replace(SETTING, model=key)) for key in ("aaaa", "bbbb"))
    assert "2 models" in text(one, other)
    assert "Model aaaa" in text(one, replace(one, key="c"))
    assert "2 models" not in text(one, replace(one, key="c"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rounds": 1}, "Every adversary saw one round only."),
        ({"defenses": ("Clipping(norm=1.0)",)}, "Without its defenses, the model was audited by the positive control alone."),
        ({"unused": ("public_data",)}, "not made use of: public data"),
        ({"granted": ("count", "labels")}, "No adversary had: how the client trains"),
        ({"granted": ()}, "these were not tried: weights, server, informed, adaptive"),
    ],
)
def test_what_was_not_tried_is_told_where_it_was_not(changes, told):
    assert told in text(of(NET, setting=replace(SETTING, **changes)))
    every = ("buffers", "count", "defense", "labels", "procedure", "public_data", "scale")
    tried = replace(SETTING, rounds=3, defenses=(), unused=(), granted=every)
    others = [replace(tried, granted=(), examples=5, client="FedAvg()")]
    assert told not in text(*(of(NET, key=str(place), seed=place, setting=one) for place, one in enumerate((tried, *others))))


def test_attacks_that_were_not_run_are_those_that_are_installed_less_those_that_were():
    page = text(of(NET))
    (told,) = re.findall(r"these were not run: ([^.]*)\.", page)
    assert set(told.split(", ")) == set(entries("attack")) - {"dlg"}
    assert "these were not run" not in text(replace(of(NET), spec={"victim": NET}))  # nobody wrote down which attack it was


def test_controls_are_counted_as_they_ran():
    held = of(NET, key="b")
    failing = replace(held, trials={**held.trials, CONTROL: trial((9.0, 9.0), (50, 60), chance=0.9)})
    bare = replace(of(NET, key="c"), trials={ATTACK: trial()})
    page = text(of(NET, key="a"), failing, bare)
    assert "A positive control ran in 2 of 3 judged audits, and found a leak in the undefended update in 1." in page
    assert "ran in 2 of 3 judged audits, and a blind guess in 2." in page
    assert "No audit was judged" in text(of(NET, verdict=Verdict("not judged", "No truth.")))


def test_the_worst_example_is_of_a_leak_where_there_is_one():
    calm = of(NET, key="a", name="calm", outcome="no leak found by these attacks", attack=trial((45.0, 44.0)))
    leak = of(NET, key="b", name="leaky", attack=trial((25.0, 12.0)))
    assert "The worst example: leaky" in text(calm, leak)
    assert "The worst example: calm" in text(calm)
    assert "The worst example" not in text(failed())


def test_what_failed_is_counted():
    page = text(of(NET, key="a"), replace(failed("b"), spec={"victim": NET}))
    assert "1 of 2 audits leaks" in page
    assert "1 did not finish" in page


def test_pictures_are_shown_once_and_not_in_a_redacted_page(tmp_path):
    store = Store(tmp_path / "results")
    store.save(of(NET, key="a1"), images())
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "results"), "--models", str(tmp_path / "models.html")])
    page = (tmp_path / "models.html").read_text()
    assert "data:image/png" in page
    assert "<script" not in page
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "results"), "--models", str(tmp_path / "models.html"), "--redacted"])
    page = (tmp_path / "models.html").read_text()
    assert "data:image/png" not in page
    assert "This report is redacted" in page


def test_no_markup_breaks_out():
    page = render_models([Audited(of({"name": "<img src=x onerror=y>"}, name="<b>"), {})])
    assert "<img" not in page
    assert "<b></" not in page


def test_a_redacted_record_names_no_folder_wherever_one_is_said():
    where = "/home/alice/ward 7/faces.safetensors"
    said = f"Latent(generator='{where}')"
    made = record(
        attack=trial(),
        setting=replace(SETTING, client=said, defenses=(said,)),
        verdict=Verdict("leaks", f"Because of {where!r}."),
        diagnosis=(f"It read {where!r}.",),
    )
    made = replace(made, trials={ATTACK: replace(trial(), attack=said, message=said)})
    hidden = repr(redacted_record(made))
    assert "alice" in repr(made)
    assert "alice" not in hidden
    assert hidden.count(PurePath(where).name) == 6


def test_fingerprints_tell_weights_apart():
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.5)}
    own = tree.fingerprint(weights)
    assert re.fullmatch(r"[0-9a-f]{16}", own)
    assert tree.fingerprint(dict(reversed(weights.items()))) == own
    assert tree.fingerprint({name: value.t().contiguous().t() if value.dim() else value for name, value in weights.items()}) == own
    for other in (
        {**weights, "a": weights["a"].reshape(3, 2)},
        {**weights, "b": torch.tensor(1.5000001)},
        {"c": weights["a"], "b": weights["b"]},
        {name: value.bfloat16() for name, value in weights.items()},
        {"a": weights["a"]},
    ):
        assert tree.fingerprint(other) != own
