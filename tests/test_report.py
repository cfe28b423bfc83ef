"""The report: what it says, that it says all of it, and that nothing in it breaks out or reaches out."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter
from samples import failed, record, trial
from samples import images as tensors
from skimage import data
from skimage.transform import resize

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, Setting, Trial, Verdict
from leakgauge.core.capabilities import NAMED
from leakgauge.core.types import Capability
from leakgauge.report import Audited, fragment, json_schema, render, words, write_report
from leakgauge.report.chart import psnr_chart
from leakgauge.report.files import MANY, Document, json_parts
from leakgauge.report.gallery import gallery
from leakgauge.report.markdown import to_markdown
from leakgauge.report.numbers import duration, number, p_value, significant, summary
from leakgauge.report.pictures import strip
from leakgauge.report.scores import score_table
from leakgauge.results.store import Store
from leakgauge.results.variations import over_seeds, variations

VOID = {"meta", "br", "img", "link", "input", "hr"}
CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Page(HTMLParser):
    """Walks a page: refuses tags that do not balance and ids that are not unique, and keeps what may be asked for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.texts, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append((self.open[-1] if self.open else "", text))

    @property
    def text(self):
        return " ".join(text for tag, text in self.texts if tag != "style")

    @property
    def styles(self):
        sheets = [text for tag, text in self.texts if tag == "style"]
        return sheets + [value for _, name, value in self.attributes if name == "style"]


def photographs(count, size=16):
    sources = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.astronaut()[:256, :256], data.coffee()[:, :400]]
    return np.stack([resize(source, (size, size)).transpose(2, 0, 1) for source in sources[:count]]).astype(np.float32)


def scored(guess, truth, first, **changes):
    psnr = tuple(float(-10 * np.log10(((g - t) ** 2).mean())) for g, t in zip(guess, truth, strict=True))
    ranks = (1,) * len(truth) if first else tuple(range(30, 30 + len(truth)))
    return replace(trial(psnr, ranks), **changes)


def audited(kind="leaks", count=4, **changes):
    """An audit of photographs: the reconstruction is the truth with noise ("leaks") or noise alone ("safe", "open")."""
    truth, rng = photographs(count), np.random.default_rng(1)
    noisy = lambda x, scale: np.clip(x + scale * rng.standard_normal(x.shape), 0, 1).astype(np.float32)  # noqa: E731
    gray = np.full_like(truth, 0.5)
    guesses = {
        ATTACK: noisy(truth, 0.04) if kind == "leaks" else noisy(gray, 0.4),
        FLOOR: noisy(truth[::-1], 0.05),
        BLIND: gray,
        CONTROL: noisy(gray, 0.4) if kind == "open" else noisy(truth, 0.02),
    }
    trials = {
        name: scored(guess, truth, first=(name == CONTROL and kind != "open") or (name == ATTACK and kind == "leaks"))
        for name, guess in guesses.items()
    }
    outcome = {"leaks": "leaks", "safe": "no leak found by these attacks", "open": "inconclusive"}[kind]
    setting = Setting(
        threat="server",
        granted=("count", "procedure", "scale"),
        withheld=("buffers", "defense", "labels", "public_data"),
        examples=count,
        input_shape=(3, 16, 16),
        classes=10,
        class_names=tuple(f"kind {row}" for row in range(count)),
        parameters=61706,
        sent=61706,
        client="FedSGD(batchnorm='eval')",
        defenses=("GaussianNoise(sigma=0.01)",) if kind == "safe" else (),
        candidates=100,
        threshold=20.0,
        margin=3.0,
    )
    made = record(verdict=Verdict(outcome, f"Because {kind}."), setting=setting, trials=trials, name=f"photographs {kind}")
    return Audited(replace(made, **changes), {"truth": truth, **{f"guess.{name}": guess for name, guess in guesses.items()}})


def sweep():
    """Six audits, one of which failed and one of which ran out of time."""
    spec = {"name": "s", "seed": 0, "threat": "server", "attack": {"name": "dlg", "steps": 300, "restarts": 1}}
    noise = {"name": "gaussian_noise", "sigma": 0.01}
    made = [
        audited("leaks", key="00aa", spec={**spec, "defenses": []}),
        audited("safe", key="11bb", spec={**spec, "defenses": [noise]}),
        audited("open", key="22cc", spec={**spec, "defenses": [{**noise, "sigma": 0.1}]}),
        Audited(replace(failed("33dd"), name="broken", spec={**spec, "defenses": [{"name": "dp_sgd"}]}), {}),
        Audited(replace(failed("44ee", "timed_out", None), name="slow", spec={**spec, "defenses": [{"name": "sign"}]}), {}),
        audited("leaks", 2, key="55ff", spec={**spec, "defenses": []}),
    ]
    return [replace(one, record=replace(one.record, name=f"{one.record.name} {place}")) for place, one in enumerate(made)]


PAGES = {
    "leaks": lambda: [audited("leaks")],
    "safe": lambda: [audited("safe", 6)],
    "open": lambda: [audited("open", 1)],
    "failed": lambda: [Audited(failed(), {})],
    "sweep": sweep,
    "none": list,
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_well_formed_and_loads_nothing(name):
    page = Page(render(PAGES[name]()))
    assert ("meta", "content", CSP) in page.attributes
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "img"} & set(page.tags)
    references = [value for _, key, value in page.attributes if key in ("src", "href", "xlink:href", "srcset", "action", "data")]
    assert all(value.startswith("#") for value in references)
    assert all(value[1:] in page.ids for value in references)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    for style in page.styles:
        assert "@import" not in style
        assert all(found.startswith(("data:image/png;base64,", "#")) for found in re.findall(r"url\(['\"]?([^)]*)", style))
    ours = {key: value for _, key, value in page.attributes}
    assert not [value for key, value in ours.items() if key.startswith("xmlns")]


@pytest.mark.parametrize("name", PAGES)
def test_same_input_gives_the_same_bytes(name):
    assert render(PAGES[name]()) == render(PAGES[name]())


def test_page_is_the_same_in_another_process():
    """Hash seeds, dates and counters of a process must not show."""
    code = (
        "import sys, test_report as t; sys.stdout.reconfigure(encoding='utf-8', newline=''); print(t.render([t.audited()]), end='')"
    )
    tests = Path(__file__).parent
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tests, env={"PYTHONHASHSEED": "1"})
    assert run.stdout.decode() == render([audited()])


@pytest.mark.parametrize(
    ("kind", "headline"),
    [("leaks", "Leaks"), ("safe", "No leak found by these attacks"), ("open", "Inconclusive")],
)
def test_verdict_stands_first_with_its_reason(kind, headline):
    text = Page(render([audited(kind)])).text
    assert text.index(headline) < text.index(f"Because {kind}.") < text.index("What was attacked") < text.index("Scores")
    assert text.index("Scores") < text.index("The adversary: server") < text.index("Reproduce it") < text.index("What this is not")
    assert "compliant" not in text


def test_what_was_not_recovered_is_not_called_rebuilt():
    hidden = audited("safe", verdict=Verdict("partial leak", "Ranks.", 0.001))
    assert words.NEARER in Page(render([hidden])).text
    assert words.RECOVERED in Page(render([audited("leaks")])).text
    trials = {**hidden.record.trials, ATTACK: replace(hidden.record.trials[ATTACK], label_chance=0.002)}
    labels = replace(hidden, record=replace(hidden.record, trials=trials, verdict=Verdict("partial leak", "Labels.", 0.002)))
    assert words.LABELED in Page(render([labels])).text


def test_every_score_of_the_record_appears():
    one = audited("leaks", 4)
    text = Page(render([one])).text
    for metric in ("psnr", "mse"):
        for name in (ATTACK, FLOOR, BLIND, CONTROL):
            values = sorted(one.record.trials[name].scores[metric])
            for value in (np.median(values), values[0], values[-1]):
                assert number(metric, float(value)) in text
    for name in (ATTACK, FLOOR, BLIND, CONTROL):
        for value in one.record.trials[name].scores["psnr"]:
            assert f"{value:.1f} dB" in text
        for rank in one.record.trials[name].ranks:
            assert f"rank {rank}/100" in text
    assert "4 of 4 (100%)" in text  # recovered
    assert "95% interval 51% to 100%" in text  # Wilson, from any table
    assert "p = 0.001" in text
    assert "50%" in text  # label accuracy
    for name, (_, sentence) in words.TRIALS.items():
        assert (sentence in text) is (name in one.record.trials)


def test_metrics_that_nobody_knows_appear_under_their_own_name():
    one = audited("leaks", 1)
    strange = replace(one.record.trials[ATTACK], scores={"weird_score": (0.1234,), "ssim_affine": (0.5,)})
    text = Page(render([replace(one, record=replace(one.record, trials={ATTACK: strange}))])).text
    assert "weird_score" in text
    assert "0.123" in text
    assert "SSIM, affine" in text
    assert words.ALIGNMENT in text


def test_scores_against_what_was_trained_on_stand_apart_and_say_so():
    one = audited("leaks", 2)
    trials = {
        name: replace(trial, scores={**trial.scores, "psnr_affine_trained": (31.2, 8.0), "psnr_trained": (26.4, 6.0)})
        for name, trial in one.record.trials.items()
        if name != CONTROL
    }
    record = replace(one.record, trials={**trials, CONTROL: one.record.trials[CONTROL]})
    text = Page(render([replace(one, record=record)])).text
    assert "PSNR, as trained on" in text
    assert "PSNR, affine, as trained on" in text
    assert "26.4 dB as trained on" in text
    assert words.CHANGED in text
    assert words.UNCHANGED in text  # of the control, which defends nothing
    table = score_table(record, one.record.setting, "a")
    assert [row.key for row in table.rows[:4]] == ["psnr", "mse", "psnr_trained", "psnr_affine_trained"]
    assert words.CHANGED not in Page(render([one])).text


def test_missing_numbers_say_why():
    one = audited("leaks")
    trials = dict(one.record.trials)
    del trials[FLOOR]
    trials[BLIND] = Trial("MeanImage()", "out_of_scope", 0.1, "needs <public> data")
    trials[CONTROL] = replace(trials[CONTROL], scores={"psnr": (None,) * 4}, ranks=None, label_accuracy=None)
    table = score_table(replace(one.record, trials=trials), one.record.setting, "a")
    for row in table.rows:
        assert [cell.text == "–" for cell in row.cells] == [bool(cell.missing) for cell in row.cells]
        assert all(cell.missing in table.reasons for cell in row.cells if cell.missing)
    text = Page(render([replace(one, record=replace(one.record, trials=trials))])).text
    assert "the floor was not run" in text
    assert "the trial ended out of scope: needs <public> data" in text
    assert "no example has a finite score" in text


def test_a_page_of_an_attack_without_controls():
    one = audited("leaks")
    trials = {ATTACK: one.record.trials[ATTACK]}
    for candidates, reason in ((100, "the floor was not run"), (None, "there was no other data to take the floor’s update from")):
        record = replace(one.record, trials=trials, setting=replace(one.record.setting, candidates=candidates))
        images = {name: pixels for name, pixels in one.images.items() if name in ("truth", f"guess.{ATTACK}")}
        text = Page(render([Audited(record, images)])).text
        assert reason in text
        assert "the blind guess was not run" in text
        assert "the positive control was not run" in text
        assert "Blind guess" in text


def test_nothing_breaks_out():
    evil = '<script>alert("1")</script></style></svg>&amp;'
    one = audited("leaks", 2)
    setting = replace(
        one.record.setting, class_names=(evil, evil), client=evil, defenses=(evil,), threat=evil, granted=(evil,), withheld=(evil,)
    )
    trials = {name: replace(t, attack=evil, message=evil) for name, t in one.record.trials.items()}
    trials[BLIND] = Trial(evil, "diverged", 0.1, evil)
    bad = replace(
        one.record,
        name=evil,
        key=evil,
        setting=setting,
        trials=trials,
        verdict=Verdict("leaks", evil),
        spec={"name": evil, "attack": {"name": evil, evil: evil}, evil: [evil]},
        environment={"leakgauge": evil, evil: evil},
        diagnosis=(evil,),
        error=evil,
    )
    clean = replace(one, record=replace(one.record, spec={}))
    for text in (render([replace(one, record=bad)]), render([replace(one, record=bad), clean]), fragment(bad, one.images)):
        page = Page(text)
        assert "script" not in page.tags
        assert "<script" not in text
        assert page.text.count(evil) >= 10
        assert len([tag for tag in page.tags if tag == "style"]) == 1


def test_adversary_is_told_in_full():
    assert set(words.CAPABILITIES) == {str(capability) for capability in Capability}
    assert set(words.THREATS) == set(NAMED)
    text = Page(render([audited("leaks")])).text
    for sentence in words.CAPABILITIES.values():
        assert sentence in text
    assert "The adversary: server" in text


@pytest.mark.parametrize(
    ("granted", "weakest"),
    [((), "eavesdropper"), (("count",), "weights"), (("scale",), "server"), (("labels",), "informed"), (("defense",), "adaptive")],
)
def test_weakest_threat_model_that_suffices_is_named(granted, weakest):
    one = audited("leaks")
    own = replace(one.record, setting=replace(one.record.setting, threat="mine", granted=granted))
    assert f"The weakest named threat model that grants all this is “{weakest}”" in Page(render([Audited(own, {})])).text


def test_spec_can_be_copied_out_of_the_page():
    spec = {"attack": {"name": "dlg", "steps": 5}, "seed": 3, "note": "a: <b> & 'c'"}
    page = Page(render([audited("leaks", spec=spec)]))
    shown = [text for tag, text in page.texts if tag == "pre"]
    assert [yaml.safe_load(text) for text in shown] == [spec]
    assert "leakgauge audit audit.yaml" in page.text
    assert "leakgauge audit audit.yaml" not in Page(render([audited("leaks", spec={})])).text


def test_losses_stand_beside_the_loss_at_the_truth():
    one = audited("leaks")
    attack = replace(one.record.trials[ATTACK], losses=(0.5, None, 0.25), loss_at_truth=1.5e-7)
    text = Page(render([Audited(replace(one.record, trials={**one.record.trials, ATTACK: attack}), {})])).text
    assert "over 3 restarts: 0.25, 0.5 (1 restart ended without a number)" in text
    assert "1.50 × 10⁻⁷" in text
    assert "A note." in text


def test_sweep_counts_every_audit_that_was_started():
    text = render(sweep())
    page = Page(text)
    assert "2 of 6 audits leak" in page.text
    for line in ("2 leak", "1 inconclusive", "2 did not finish", "1 no leak found", "Traceback: boom"):
        assert line in page.text
    assert text.count('<details class="audit">') == 6
    table = text[text.index('<table class="overview">') : text.index("</table>")]
    assert table.count("<tr>") == 7
    assert ">Defenses<" in table
    assert ">Threat<" not in table  # the same everywhere
    assert "gaussian_noise\u200b(sigma=0.1)" in table  # may break before the bracket, and nowhere within a word
    assert "Timed out" in table
    assert "Failed" in table


def test_pictures_that_audits_share_are_stored_once():
    text = render([audited("leaks", key="aa"), audited("leaks", key="bb")])
    assert text.count("data:image/png") == 5


def test_only_what_varies_is_shown():
    specs = [
        {"seed": 0, "attack": {"name": "dlg", "steps": 1, "prior": {"name": "tv", "weight": 1, "p": 2}}, "defenses": []},
        {"seed": 0, "attack": {"name": "dlg", "steps": 1, "prior": {"name": "tv", "weight": 3, "p": 2}}, "defenses": []},
        {"seed": 0, "attack": {"name": "ig", "steps": 9}, "defenses": [{"name": "sign"}]},
        {},
    ]
    assert variations(specs[:2]) == (("attack",), (("dlg(prior=tv(weight=1))",), ("dlg(prior=tv(weight=3))",)))
    keys, rows = variations(specs)
    assert keys == ("seed", "attack", "defenses")
    assert rows[2] == ("0", "ig", "sign")
    assert rows[3] == ("none", "none", "none")


def test_audits_that_differ_in_their_seeds_alone_are_summed_up():
    def one(seed, sigma, outcome):
        spec = {"seed": seed, "attack": "dlg", "defenses": [{"name": "gaussian_noise", "sigma": sigma}]}
        made = audited(outcome, 2, key=f"{seed}{sigma}")
        return Audited(replace(made.record, seed=seed, spec=spec), made.images)

    audits = [one(seed, sigma, "leaks" if sigma < 1 else "open") for sigma in (0.1, 3.0) for seed in range(6)]
    weak, strong = over_seeds([audit.record for audit in audits])
    assert (weak.differences, len(weak.records)) == ({"defenses": "gaussian_noise(sigma=0.1)"}, 6)
    assert [record.seed for record in strong.records] == list(range(6))
    text = render(audits)
    assert "audits that are the same but for their seeds" in text
    assert "6 of 6 (61% to 100%)" in text
    assert "0 of 6 (0% to 39%)" in text
    assert "95% interval" in text
    assert "| gaussian\\_noise(sigma=0.1) | 6 | 6 of 6 (61% to 100%) |" in to_markdown(audits)
    assert over_seeds([audit.record for audit in audits[::6]]) == ()
    assert over_seeds([audits[0].record, audits[0].record]) == ()


@pytest.mark.parametrize("shape", [(7,), (4, 4)])
def test_inputs_that_are_no_images_get_a_note(shape):
    one = audited("leaks", 2)
    values = np.zeros((2, *shape), dtype=np.float32)
    plain = replace(one.record, setting=replace(one.record.setting, input_shape=shape))
    text = render([Audited(plain, {"truth": values, "guess.attack": values})])
    assert "The inputs are not images" in text
    assert "data:image" not in text
    assert 'class="scores"' in text


def test_large_batches_show_the_best_and_the_worst():
    values = (30.0, None, 10.0, 50.0, 20.0, 40.0)
    one = audited("leaks", 6)
    trials = {**one.record.trials, ATTACK: replace(one.record.trials[ATTACK], scores={"psnr": values})}
    shown = gallery(replace(one.record, trials=trials), one.images, 3)
    titles = [example.title for example in shown.examples]
    assert titles[0] == "Example 4: kind 3"
    assert titles[-1] == "Example 2: kind 1"
    assert len(titles) == 3
    assert "3 of 6 examples" in shown.note


def pixels_of(made):
    import base64
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(made.data.partition(",")[2]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_strip_shows_each_picture_where_css_looks_for_it(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, channels, 6, 9)) / 255
    rows = [4, 0, 2]
    made = strip(pixels, rows)
    image = pixels_of(made).reshape(6, -1, channels)
    total = image.shape[1]
    for place, row in enumerate(rows):
        percent = float(made.position(place).partition("%")[0])
        left = percent / 100 * (total - made.width)  # what a background position in percent means
        assert left == pytest.approx(round(left), abs=0.01)
        found = image[:, round(left) : round(left) + made.width]
        assert np.array_equal(found, np.rint(pixels[row].transpose(1, 2, 0) * 255))
    size = float(re.search(r"background-size:([\d.]+)%", made.rule)[1])
    assert size / 100 * made.width == pytest.approx(total, abs=0.01)


def test_strip_leaves_out_what_has_no_numbers_and_shrinks_what_is_large():
    pixels = np.zeros((2, 3, 8, 8))
    assert strip(np.full_like(pixels, np.nan), [0, 1]) is None
    pixels[1, 0, 0, 0] = np.nan
    assert strip(pixels, [0, 1]).has == (True, False)
    large = strip(np.zeros((1, 3, 512, 256)), [0])
    assert (large.height, large.width) == (128, 64)
    many = strip(np.stack([np.full((8, 8), shade) for shade in np.linspace(0, 1, 5)])[None], [0])
    assert (pixels_of(many) == 128).all()  # five channels: their mean


def test_guesses_without_numbers_are_told_not_drawn():
    one = audited("leaks", 2)
    images = {**one.images, "guess.floor": np.full_like(one.images["truth"], np.nan)}
    trials = {**one.record.trials, FLOOR: Trial("DLG()", "out_of_scope", 0.0, "no")}
    page = Page(render([Audited(replace(one.record, trials=trials), images)]))
    labels = [value for tag, name, value in page.attributes if name == "aria-label" and tag == "div"]
    assert "no picture: floor for example 1" in labels
    assert "attack for example 1" in labels
    assert "private example 1, class kind 0" in labels


def test_every_picture_has_a_text_and_every_table_its_headers():
    text = render(sweep())
    for found in re.findall(r'<div class="picture[^>]*>', text):
        assert 'role="img"' in found
        assert re.search(r'aria-label="[^"]+"', found)
    for found in re.findall(r"<th\b[^>]*>", text):
        assert 'scope="' in found
    assert "prefers-color-scheme: dark" in text
    assert "image-rendering: pixelated" in text


def luminance(color):
    parts = [int(color[1 + 2 * place : 3 + 2 * place], 16) / 255 for place in range(3)] if len(color) == 7 else None
    parts = parts or [int(digit * 2, 16) / 255 for digit in color[1:]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_can_be_read_in_light_and_dark():
    """Contrast of 4.5 to 1 for all text: WCAG 2.2, success criterion 1.4.3."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w+)", found)) for found in re.findall(r"--page:.*?\}", render([]), re.DOTALL)[:2]
    )
    for theme in (light, {**light, **dark}):
        pairs = [(ink, ground) for ink in ("ink", "muted", "accent") for ground in ("page", "card", "soft")]
        pairs += [(tone, f"{tone}-soft") for tone in ("bad", "calm", "unsure", "broken")]
        pairs += [("muted", f"{tone}-soft") for tone in ("bad", "calm", "unsure", "broken")]
        for ink, ground in pairs:
            high, low = sorted((luminance(theme[ink]), luminance(theme[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_chart_marks_every_example_in_colors_of_the_page():
    values = {ATTACK: (25.0, None, 30.0), FLOOR: (9.0, 8.0, 7.0), CONTROL: (None, None, None)}
    svg = psnr_chart(values, 20.0, "here")
    assert "threshold 20 dB" in svg
    assert "Attack" in svg
    assert "Positive control" not in svg
    assert svg.count("<use ") == 5
    assert "var(--accent)" in svg
    assert not re.search(r"#\d{6}", svg)
    assert "font-family" not in svg
    assert all(found.startswith("here-") for found in re.findall(r'\bid="([^"]*)"', svg))
    assert psnr_chart({ATTACK: (None,)}, 20.0, "here") == ""
    assert "<svg" in psnr_chart({ATTACK: (20.0,)}, 20.0, "here")


def test_fragment_brings_its_own_style_and_touches_nothing_else():
    one = audited("leaks")
    text = fragment(one.record, one.images)
    page = Page(text)
    assert not {"html", "body", "head", "script", "link"} & set(page.tags)
    assert page.tags[0] == "div"
    (sheet,) = (text for tag, text in page.texts if tag == "style")
    flat = re.sub(r"@media[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}", r"\1", sheet)
    for selectors in re.findall(r"([^{}]+)\{", flat):
        for selector in re.split(r",(?![^(]*\))", selectors):
            assert re.match(r"((body|html)\S+ )?\.leakgauge", selector.strip()), selector
    assert "Leaks" in page.text


@pytest.mark.parametrize(
    ("outcomes", "headline"),
    [
        (("no leak found by these attacks",) * 2, "No leak found in 2 audits"),
        (("no leak found by these attacks", "inconclusive"), "No leak found in 1 of 2 audits, the others cannot tell"),
        (("inconclusive", "inconclusive"), "None of 2 audits can tell"),
        (("partial leak", "inconclusive"), "1 of 2 audits leaks"),
    ],
)
def test_what_cannot_tell_is_never_summed_up_as_no_leak(outcomes, headline):
    records = [record(f"aa0{place}", outcome) for place, outcome in enumerate(outcomes)]
    page = Page(render([Audited(one, {}) for one in records])).text
    assert headline in page
    unfinished = Page(render([Audited(record("aa", "no leak found by these attacks"), {}), Audited(failed("bb"), {})])).text
    assert "No leak found in 1 of 2 audits, the others cannot tell" in unfinished


def test_a_report_takes_no_torch():
    """It would take two seconds, and a third of the memory that an overview of ten thousand audits may have."""
    code = "import sys, leakgauge.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_records_are_written_one_by_one_as_they_are_all_together(count):
    records = [record(f"a{number}", name='in "quotes"\nand\\lines, ü') for number in range(count)]
    whole = TypeAdapter(Document).dump_json(Document(tuple(records)), indent=2) + b"\n"
    assert b"".join(json_parts(records)) == whole


def test_files_are_written_and_follow_the_schema(tmp_path):
    store = Store(tmp_path)
    store.save(record("aa11"), tensors())
    store.save(failed("bb22"))
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert "1 of 2 audits leaks" in page.text
    document = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    assert document["schema_version"] == 1
    assert {one["key"] for one in document["audits"]} == {"aa11", "bb22"}
    first = path.read_bytes(), (tmp_path / "audit.json").read_bytes()
    write_report(tmp_path)
    assert (path.read_bytes(), (tmp_path / "audit.json").read_bytes()) == first
    del document["audits"][0]["verdict"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.123456, "0.123"), (-0.5, "−0.5"), (1234.5, "1,234"), (1.5e-7, "1.50 × 10⁻⁷"), (2e9, "2.00 × 10⁹")],
)
def test_significant_digits(value, text):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "under 0.1 s"), (3.21, "3.2 s"), (9.96, "10 s"), (119.4, "119 s"), (150, "2 min 30 s"), (9000, "2 h 30 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_summaries_say_what_their_interval_is():
    assert summary("psnr", (10.0, 20.0, 40.0), "dB").text == "20.0 dB"
    assert summary("psnr", (10.0, 20.0, 40.0)).detail == "range 10.0 to 40.0"
    assert summary("psnr", tuple(map(float, range(6)))).detail == "95% interval 0.0 to 5.0"
    assert summary("psnr", (10.0, None, float("nan"))).detail == "(1 of 3 have a score)"
    assert summary("psnr", (None,)).missing == "no example has a finite score"
    assert summary("ssim", (-0.0001,)).text == "0.000"
    assert p_value(0.0) == "p < 0.0001"
    assert p_value(0.0123) == "p = 0.012"


def test_a_fragment_holds_its_own_in_a_notebook():
    """Notebooks style elements by a class; what they say must not win over the fragment, nor the system's theme over theirs."""
    one = audited("leaks")
    text = fragment(one.record, one.images)
    css = text[text.index("<style>") : text.index("</style>")]
    selectors = [
        part.strip() for rule in re.findall(r"([^{}]+)\{", css) for part in re.split(r",(?![^(]*\))", rule) if ".leakgauge" in part
    ]
    assert len(selectors) > 100
    assert all(".leakgauge.leakgauge" in one for one in selectors)
    for theme in ('[data-jp-theme-light="false"]', ".vscode-dark", 'html[theme="dark"]', '[data-jp-theme-light="true"]'):
        assert theme in css
    assert ".leakgauge.leakgauge dt" in css  # JupyterLab floats terms, a fifth of the width each
    page = render([one])
    assert "jp-theme" not in page
    assert ".leakgauge.leakgauge" not in page


def many(root, count):
    store = Store(root)
    for place in range(count):
        spec = {"attack": {"name": "dlg", "steps": place % 4}, "seed": place}
        store.save(replace(record(f"{place:016x}", name=f"audit {place}"), seed=place, spec=spec), tensors(place))
    return store


def test_many_audits_have_an_overview_and_a_page_each(tmp_path):

    store = many(tmp_path, MANY + 2)
    page = write_report(tmp_path)
    text = page.read_text()
    assert "data:image/png" not in text
    assert f"{MANY + 2} of {MANY + 2} audits leak" in text
    links = re.findall(r'href="(audits/[0-9a-f]{16}\.html)"', text)
    assert len(links) == MANY + 2
    for link in links:
        one = (tmp_path / link).read_text()
        assert "data:image/png" in one
        assert "<script" not in one
        assert (tmp_path / link).stat().st_mode & 0o077 == 0
    assert [one["key"] for one in json.loads((tmp_path / "audit.json").read_text())["audits"]]
    assert store.keys() == sorted(path.removeprefix("audits/").removesuffix(".html") for path in links), "pages are no audits"


def test_of_many_audits_those_that_are_new_or_changed_get_a_page(tmp_path):

    store = many(tmp_path, MANY + 1)
    write_report(tmp_path)
    pages = sorted((tmp_path / "audits").iterdir())
    before = {page: page.stat().st_mtime_ns for page in pages}
    first = pages[0].stem
    shutil.rmtree(tmp_path / first)
    store.save(record(first, name="another"), tensors(99))
    pages[1].write_text("of another version")
    write_report(tmp_path)
    changed = [page for page in pages if page.stat().st_mtime_ns != before[page]]
    assert changed == pages[:2]
    assert "another" in pages[0].read_text()


def test_many_redacted_or_rescored_audits_have_folders_of_their_own(tmp_path):
    from leakgauge.results.rescoring import Rescoring

    many(tmp_path, MANY + 1)
    write_report(tmp_path, is_redacted=True)
    assert "data:image/png" not in "".join(page.read_text() for page in (tmp_path / "redacted").iterdir())
    write_report(tmp_path, by=Rescoring(alpha=0.01))
    assert len(list((tmp_path / "rescored").iterdir())) == MANY + 1


def test_an_overview_lists_no_more_than_a_page_can_show():
    from leakgauge.report.page import render_overview

    records = [record(f"{place:04x}", name=f"n{place}") for place in range(1200)]
    page = render_overview(records, [f"audits/{one.key}.html" for one in records])
    assert page.count('href="audits/') == 1000
    assert "Listed are the first 1000 of 1200 audits" in page
    assert "1200 of 1,200 audits leak" in page
