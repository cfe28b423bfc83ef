"""Priors: -log p(x)."""
