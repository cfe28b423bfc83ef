"""Defenses: each turns a client into a safer client."""
