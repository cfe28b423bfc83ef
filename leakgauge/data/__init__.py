"""Data: where private examples come from."""
