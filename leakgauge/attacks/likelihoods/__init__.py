"""Likelihoods: -log p(update | x)."""
