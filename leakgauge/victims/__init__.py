"""Victims: the architectures under audit, with seeded initialization."""
