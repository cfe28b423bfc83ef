"""`python -m leakgauge`."""

from __future__ import annotations

from leakgauge.cli import main

if __name__ == "__main__":
    main()
