"""A plugin whose entry point leads to something that makes no algorithm."""

VALUE = 3
