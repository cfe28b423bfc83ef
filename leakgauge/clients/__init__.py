"""Clients: how a batch becomes an update."""
