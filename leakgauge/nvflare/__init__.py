"""NVFlare (extra `nvflare`): what clients really send, captured at the server, and defenses on what leaves them.

capturing(recipe, "captures")                                           # a job's recipe: one line each
defending(recipe, [{"name": "gaussian_noise", "sigma": 0.01}])
"""

from leakgauge.core.errors import MissingExtra

try:
    import nvflare.apis.dxo_filter  # noqa: F401
except ImportError as _error:
    raise MissingExtra("the adapter of NVFlare", "nvflare") from _error

from leakgauge.nvflare.filters import Captured, Defended, Remembered
from leakgauge.nvflare.recipes import capturing, defending

__all__ = ["Captured", "Defended", "Remembered", "capturing", "defending"]
