"""leakgauge: how much private training data leaks from what a federated-learning client sends, and what stops it.

    import leakgauge as lg
    result = lg.audit(model=net, batch=(x, y), attack="inverting_gradients")

Names are imported on first use, so that `import leakgauge` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leakgauge.api import Result as Result
    from leakgauge.api import audit as audit
    from leakgauge.auditing.judging import judge as judge
    from leakgauge.auditing.plan import Criteria as Criteria
    from leakgauge.auditing.record import Record as Record
    from leakgauge.auditing.record import Verdict as Verdict
    from leakgauge.core.algorithm import algorithm as algorithm
    from leakgauge.core.algorithm import recipe as recipe
    from leakgauge.core.errors import LeakgaugeError as LeakgaugeError
    from leakgauge.core.errors import MissingExtra as MissingExtra
    from leakgauge.core.errors import OutOfScope as OutOfScope
    from leakgauge.core.errors import UsageError as UsageError
    from leakgauge.core.rng import stream as stream
    from leakgauge.core.threat import observe as observe
    from leakgauge.core.types import Batch as Batch
    from leakgauge.core.types import Capability as Capability
    from leakgauge.core.types import Inputs as Inputs
    from leakgauge.core.types import Model as Model
    from leakgauge.core.types import Observation as Observation
    from leakgauge.core.types import Reconstruction as Reconstruction
    from leakgauge.core.types import ThreatModel as ThreatModel
    from leakgauge.core.types import Update as Update
    from leakgauge.core.weights import update_between as update_between

_HOMES = {
    "Batch": "core.types",
    "Capability": "core.types",
    "Criteria": "auditing.plan",
    "Inputs": "core.types",
    "LeakgaugeError": "core.errors",
    "MissingExtra": "core.errors",
    "Model": "core.types",
    "Observation": "core.types",
    "OutOfScope": "core.errors",
    "Reconstruction": "core.types",
    "Record": "auditing.record",
    "Result": "api",
    "ThreatModel": "core.types",
    "Update": "core.types",
    "UsageError": "core.errors",
    "Verdict": "auditing.record",
    "algorithm": "core.algorithm",
    "audit": "api",
    "judge": "auditing.judging",
    "observe": "core.threat",
    "recipe": "core.algorithm",
    "stream": "core.rng",
    "update_between": "core.weights",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
