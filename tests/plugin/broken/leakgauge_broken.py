"""A plugin that cannot be imported."""

raise RuntimeError("the license\nhas run out")
