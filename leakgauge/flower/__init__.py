"""Flower (extra `flower`): what clients really send, captured at the server, and audits and defenses as mods of the client.

strategy.start(grid=CapturingGrid(grid, "captures"), ...)         # in the ServerApp: one line
app = ClientApp(mods=[auditing(Net, examples), defending()])       # in the ClientApp: audits and defenses from run_config
"""

from leakgauge.core.errors import MissingExtra

try:
    import flwr.app  # noqa: F401
except ImportError as _error:
    raise MissingExtra("the adapter of Flower", "flower") from _error

from leakgauge.flower.auditing import auditing
from leakgauge.flower.defending import defending
from leakgauge.flower.grid import CapturingGrid

__all__ = ["CapturingGrid", "auditing", "defending"]
