"""Where what was made once is kept from one run to the next: trained victims, compiled steps."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $LEAKGAUGE_CACHE, else leakgauge in $XDG_CACHE_HOME or ~/.cache. Raises RuntimeError without a home directory."""
    own, base = os.environ.get("LEAKGAUGE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser()
    return (Path(base) if base and Path(base).is_absolute() else Path("~/.cache").expanduser()) / "leakgauge"
