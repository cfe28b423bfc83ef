"""Partitions: which client of a federation holds which examples."""
