"""Spaces: where a search walks."""
