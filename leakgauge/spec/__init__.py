"""The spec: a YAML file, the audit that it means, its key, and all that it takes to run it."""

from leakgauge.spec.building import build
from leakgauge.spec.describing import describe
from leakgauge.spec.document import DEFAULTS, AuditSpec, Draw, Parts, Recorded, canonical, key, load, loads, parse
from leakgauge.spec.preparing import divide, prepare
from leakgauge.spec.schema import schema

__all__ = [
    "DEFAULTS",
    "AuditSpec",
    "Draw",
    "Parts",
    "Recorded",
    "build",
    "canonical",
    "describe",
    "divide",
    "key",
    "load",
    "loads",
    "parse",
    "prepare",
    "schema",
]
