from leakgauge.auditing import *  # noqa: F403 (removed once nobody imports it)
