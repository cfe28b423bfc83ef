"""A pytest plugin: the fixture `leak_audit`, by which a privacy regression fails a test suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from leakgauge.auditing.record import Record

LeakAudit = Callable[..., "Record"]


@pytest.fixture
def leak_audit() -> LeakAudit:
    """Return a function that audits and fails the test if the policy does not pass it.

        def test_what_our_clients_send(leak_audit):
            leak_audit("audit.yaml")
            leak_audit(model=net, batch=(x, y), defenses=[...], policy={"max": {"psnr": 15}})

    It takes the path of an audit file, or what `leakgauge.audit` takes; `policy` is a mapping, or the path of a policy file. An
    audit that cannot tell fails as well, and says so, unless the policy allows it. Returns the record.
    """
    return _audited


def _audited(file: str | Path | None = None, *, policy: Any = None, **given: Any) -> Record:
    from leakgauge.core.errors import UsageError
    from leakgauge.results.gate import Policy, gate, load_policy

    if (file is None) == (not given):
        raise UsageError(
            "leak_audit: got a file and settings, or neither, expected one of the two; pass a path, or what audit takes"
        )
    rules = load_policy(Path(policy)) if isinstance(policy, str | Path) else Policy.model_validate(policy or {})
    record = _of_objects(given) if file is None else _of_file(file)
    rulings = gate([record], rules)
    if rulings.result != "pass":
        verb = "fails" if rulings.result == "fail" else "cannot tell"
        pytest.fail(f"leakgauge {verb}: {' '.join(rulings.rulings[0].reasons) or rulings.reason}", pytrace=False)
    return record


def _of_objects(given: dict[str, Any]) -> Record:
    from leakgauge.api import audit

    return audit(**given).record


def _of_file(file: str | Path) -> Record:
    from leakgauge.auditing.pipeline import run
    from leakgauge.spec import load, prepare

    return run(*prepare(load(file))).record
