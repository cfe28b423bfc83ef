"""Replays: how an adversary turns a candidate into an update."""
