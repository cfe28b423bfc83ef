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
    from leakgauge.auditing import Criteria as Criteria
    from leakgauge.errors import LeakgaugeError as LeakgaugeError
    from leakgauge.errors import MissingExtra as MissingExtra
    from leakgauge.errors import OutOfScope as OutOfScope
    from leakgauge.errors import UsageError as UsageError
    from leakgauge.judging import judge as judge
    from leakgauge.record import Record as Record
    from leakgauge.record import Verdict as Verdict
    from leakgauge.rng import stream as stream
    from leakgauge.threat import observe as observe
    from leakgauge.types import Batch as Batch
    from leakgauge.types import Capability as Capability
    from leakgauge.types import Inputs as Inputs
    from leakgauge.types import Model as Model
    from leakgauge.types import Observation as Observation
    from leakgauge.types import Reconstruction as Reconstruction
    from leakgauge.types import ThreatModel as ThreatModel
    from leakgauge.types import Update as Update
    from leakgauge.weights import update_between as update_between

_HOMES = {
    "Batch": "types",
    "Capability": "types",
    "Criteria": "auditing",
    "Inputs": "types",
    "LeakgaugeError": "errors",
    "MissingExtra": "errors",
    "Model": "types",
    "Observation": "types",
    "OutOfScope": "errors",
    "Reconstruction": "types",
    "Record": "record",
    "Result": "api",
    "ThreatModel": "types",
    "Update": "types",
    "UsageError": "errors",
    "Verdict": "record",
    "audit": "api",
    "judge": "judging",
    "observe": "threat",
    "stream": "rng",
    "update_between": "weights",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
