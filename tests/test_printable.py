"""Text from outside is text: on the screen, in a table, on a page, for other programs."""

import csv
import io
import logging
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from samples import SETTING, failed, images, record

from leakgauge.cli import main, screen
from leakgauge.core.printable import line, printable
from leakgauge.report import fragment, render, render_models, to_markdown
from leakgauge.report.view import Audited
from leakgauge.results.gate import Policy, gate
from leakgauge.results.rulings import as_junit, as_sarif
from leakgauge.results.store import Store
from leakgauge.results.table import write_csv

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\ufeff\u200f [red]x[/red] \nGate: pass"
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


def audited(name=EVIL):
    made = record("a1", name=name)
    return replace(
        made,
        verdict=replace(made.verdict, reason=f"Because of {EVIL}"),
        setting=replace(SETTING, class_names=(EVIL, "dog"), client=EVIL, defenses=(EVIL,)),
        trials={kind: replace(trial, attack=EVIL, message=EVIL) for kind, trial in made.trials.items()},
        diagnosis=(EVIL,),
        spec={"attack": {"name": EVIL}, "victim": {"name": EVIL}, "data": {"path": f"/tmp/{EVIL}"}},
    )


BROKEN = replace(failed("b2"), name=EVIL, error=f"Traceback\n{EVIL}")


@given(st.text())
def test_printable_text_is_the_same_text_less_what_steers(text):
    shown = printable(text)
    assert not STEERING.search(shown)
    assert printable(shown) == shown
    assert shown == "".join(letter if not STEERING.search(letter) else printable(letter) for letter in text)
    assert "\n" not in line(text)
    shown.encode()


def test_ordinary_text_of_any_script_stays():
    for text in ("Müller\tund\nSöhne", "日本語", "עברית", "مرحبا", "👩\u200d🔬", "a\u0301", "x²≥0"):
        assert printable(text) == text


def test_what_steers_stands_as_its_number():
    assert printable("a\x1b[2Jb\u202ec\U000e0041") == "a\\x1b[2Jb\\u202ec\\U000e0041"


def test_the_screen_shows_text_and_keeps_its_own_colors(capsys):
    console = screen.Screen(force_terminal=True, file=io.StringIO(), width=200)
    table = Table("Name")
    table.add_row(Text(EVIL, "bold red"))
    console.print(table)
    console.print(f"name: {EVIL}", markup=False, highlight=False)
    shown = console.file.getvalue()
    assert "\x1b[1;31m" in shown, "the table's own style"
    rest = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not STEERING.search(rest)
    assert "\\x1b]0;owned" in rest


def test_records_on_the_screen_steer_nothing(capsys):
    screen.show_records([audited()])
    screen.show_records([audited(), BROKEN])
    screen.show_records([BROKEN])
    screen.show_rulings(gate([audited(), BROKEN], Policy.model_validate({})))
    screen.complain(EVIL)
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert not STEERING.search(text)
        assert "\nGate: pass" not in text.replace("\nGate: pass.", ""), "a name in two lines is no line of the program"
    assert "error: \\x1b]0;owned" in told.err


def test_an_error_is_one_line_of_text(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["audit", str(tmp_path / EVIL.replace("/", "_"))])
    told = capsys.readouterr().err
    assert not STEERING.search(told)
    assert len(told.strip().splitlines()) == 1


def test_a_warning_is_text(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    logging.getLogger("leakgauge.core.registry").warning("imports code from outside leakgauge: %s", EVIL)
    assert not STEERING.search(capsys.readouterr().err)


def test_an_audit_with_such_a_name_runs_and_is_shown(tmp_path, capsys):
    document = {
        "name": EVIL,
        "data": {"name": "photographs", "size": 8},
        "batch": {"size": 1},
        "victim": "mlp",
        "attack": "analytic",
    }
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(SystemExit):
        main(["audit", str(tmp_path / "audit.yaml"), "--out", str(tmp_path / "results")])
    told = capsys.readouterr()
    for text in (told.out, told.err, (tmp_path / "results" / "report.html").read_text()):
        assert not STEERING.search(text)
    assert next(Store(tmp_path / "results").records()).name == EVIL, "the record keeps what it was called"


@pytest.mark.parametrize("make", [render, render_models, to_markdown, lambda audits: fragment(audits[0].record, audits[0].images)])
def test_pages_show_text(make):
    shown = {f"guess.{name}": np.zeros((2, 1, 4, 4), np.float32) for name in ("attack", "floor")} | {
        "truth": np.zeros((2, 1, 4, 4), np.float32)
    }
    page = make([Audited(audited(), shown), Audited(BROKEN, {})])
    assert not STEERING.search(page)
    assert "\\x1b]0;owned" in page.replace("\\\\", "\\").replace("\\]", "]")


def test_other_programs_get_text():
    rulings = gate([audited(), BROKEN], Policy.model_validate({}))
    for text in (as_junit(rulings), as_sarif(rulings)):
        assert not STEERING.search(text)
        assert "\\u202e" in text.replace("\\\\", "\\")
    ElementTree.fromstring(as_junit(rulings))


FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", " =1", "\r=1", "\uff1d1", "\uff0b1", "\n=1")


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(tmp_path, text):
    one = replace(audited(text), spec={"attack": {"name": text}})
    other = replace(one, key="b", spec={"attack": {"name": "dlg", text: 1}})
    write_csv([one, other], tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.lstrip()[:1] in "=+-@\uff1d\uff0b" and cell and not _is_number(cell)]
    assert any(cell.endswith(printable(text).strip()) for cell in cells), "the text is there"


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def test_numbers_below_zero_stay_numbers(tmp_path):
    one = record("a1")
    trials = {name: replace(trial, scores={"psnr": (-3.5, 2.0)}) for name, trial in one.trials.items()}
    write_csv([replace(one, trials=trials)], tmp_path / "table.csv")
    assert ",-3.5," in (tmp_path / "table.csv").read_text()


def test_images_of_a_stored_record_are_shown_with_text(tmp_path):
    store = Store(tmp_path)
    store.save(audited(), images())
    assert store.load("a1").name == EVIL
