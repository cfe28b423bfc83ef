"""Metrics: how like its truth a guess is."""
