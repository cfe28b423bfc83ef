"""Attacks: a paper is a recipe of parts around one engine, `matching`."""
