"""What an adversary may know or do, and the threat models that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final

from leakgauge.core.errors import UsageError, suggestion


class Capability(StrEnum):
    """One thing that an adversary may know or do. The update and the model are always seen."""

    LABELS = "labels"
    """the multiset of true labels, in no particular order"""
    COUNT = "count"
    """how many examples are behind the update"""
    PROCEDURE = "procedure"
    """how the client trains: local optimizer, steps, batch size, BatchNorm mode"""
    SCALE = "scale"
    """the factor between the update and a mean gradient"""
    DEFENSE = "defense"
    """which defense was applied, with its parameters"""
    BUFFERS = "buffers"
    """the BatchNorm statistics that the client sends along"""
    PUBLIC_DATA = "public_data"
    """other examples of the same distribution"""


@final
@dataclass(frozen=True)
class ThreatModel:
    """A named set of capabilities."""

    name: str
    grants: frozenset[Capability]

    def __contains__(self, capability: Capability) -> bool:
        return capability in self.grants


EAVESDROPPER = ThreatModel("eavesdropper", frozenset())
"""Sees the model and the update, and nothing else."""
WEIGHTS = ThreatModel("weights", frozenset({Capability.COUNT}))
"""Sees weights before and after local training and the number of examples: neither the learning rate nor how it was trained."""
SERVER = ThreatModel("server", frozenset({Capability.COUNT, Capability.PROCEDURE, Capability.SCALE}))
"""An honest but curious server: it also set the training procedure and is told how many examples were used."""
INFORMED = ThreatModel("informed", SERVER.grants | {Capability.LABELS, Capability.BUFFERS, Capability.PUBLIC_DATA})
"""A server that also knows the labels, receives BatchNorm statistics and holds data of the same kind."""
ADAPTIVE = ThreatModel("adaptive", INFORMED.grants | {Capability.DEFENSE})
"""Knows the defense as well, with its parameters: the adversary that a defense must be judged by."""

NAMED = {threat.name: threat for threat in (EAVESDROPPER, WEIGHTS, SERVER, INFORMED, ADAPTIVE)}


def threat_named(name: str) -> ThreatModel:
    """Return a named threat model. Raises UsageError for an unknown name."""
    if name not in NAMED:
        raise UsageError(f"threat: got {name!r}, {suggestion(name, NAMED)}")
    return NAMED[name]


def require(needs: frozenset[Capability], threat: ThreatModel, who: str) -> None:
    """Raise UsageError if `who` needs a capability that the threat model does not grant."""
    missing = sorted(needs - threat.grants)
    if missing:
        enough = [name for name, other in NAMED.items() if needs <= other.grants]
        raise UsageError(
            f"threat: {threat.name!r} does not grant {', '.join(missing)}, which {who} needs; "
            f"choose {' or '.join(enough) or 'a wider threat model'}, or another attack"
        )
