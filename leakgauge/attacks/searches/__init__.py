"""Searches: how an objective is minimized."""
