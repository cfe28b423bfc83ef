"""What a report leaves out where it must, and how it reads as Markdown."""

import json
from dataclasses import replace

import pytest
import torch
from samples import failed, record, trial

from leakgauge.auditing.outcome import Images
from leakgauge.cli import main
from leakgauge.core.errors import UsageError
from leakgauge.report import to_markdown, write_report
from leakgauge.report.markdown import plain
from leakgauge.report.view import Audited
from leakgauge.results.store import Store

SECRET = ("melanoma", "nevus")


def audited():
    one = record("a1", "leaks", trial((31.5, 12.25), (1, 40), 0.5))
    spec = {**one.spec, "data": {"name": "npz", "path": "/home/alice/ward 7/skin.npz"}}
    return replace(one, setting=replace(one.setting, class_names=SECRET), spec=spec)


@pytest.fixture
def results(tmp_path):
    store, shape = Store(tmp_path / "results"), audited().setting.input_shape
    pixels = torch.rand(2, *shape)
    store.save(audited(), Images(pixels, {"attack": pixels}))
    store.save(replace(failed("b2"), error="Traceback of /home/alice\nValueError: melanoma"))
    return tmp_path / "results"


def test_a_redacted_report_has_every_number_and_nothing_private(results):
    full, page = write_report(results).read_text(), write_report(results, is_redacted=True)
    text, records = page.read_text(), page.with_suffix(".json").read_text()
    assert page.name == "redacted.html"
    for private in (*SECRET, "alice", "ward 7", "data:image/png"):
        assert private in full
        assert private not in text
        assert private not in records
    for number in ("31.5", "12.2", "skin.npz"):
        assert number in full
        assert number in text
    assert "This report is redacted" in text
    assert "This report is redacted" not in full
    assert [one["trials"].get("attack", {}).get("scores", {}).get("psnr") for one in json.loads(records)["audits"]] == [
        [31.5, 12.25],
        None,
    ]


def test_the_command_writes_where_it_is_told(results, tmp_path, capsys):
    before = sorted(path.name for path in results.iterdir())
    with pytest.raises(SystemExit) as ended:
        main(["report", str(results), "--redacted", "--to", str(tmp_path / "out"), "--markdown", str(tmp_path / "report.md")])
    assert not ended.value.code
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["redacted.html", "redacted.json"]
    assert sorted(path.name for path in results.iterdir()) == before
    assert "Leaks" in (tmp_path / "report.md").read_text()
    assert "Report:" in capsys.readouterr().out


def test_a_page_that_cannot_be_written_is_told(results):
    (results / "report.html").mkdir()
    with pytest.raises(UsageError, match="choose one with --to"):
        write_report(results)


def test_a_folder_that_is_a_file_is_told(results, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose one with --to"):
        write_report(results, to=tmp_path / "file")


def test_markdown_has_verdict_reason_scores_and_limits():
    one = audited()
    text = to_markdown([Audited(one, {})])
    assert f"## {plain(one.name)}: Leaks" in text
    assert plain(one.verdict.reason) in text
    assert "| PSNR |" in text
    assert "31.5" in text
    assert "## What this is not" in text
    assert "melanoma" not in text


def test_many_audits_have_a_table():
    text = to_markdown([Audited(audited(), {}), Audited(failed("b2"), {})])
    assert "| Audit | Verdict |" in text
    assert "1 of 2 audits leaks" in text


def test_no_markup_breaks_out():
    evil = "a | b\n# h <img src=x onerror=y> [x](http://evil) `c` *d* \\"
    assert "\n" not in plain(evil)
    text = to_markdown([Audited(replace(audited(), name=evil), {})])
    for dangerous in ("<img", "[x](", "\n# h", " | b"):
        assert dangerous not in text
