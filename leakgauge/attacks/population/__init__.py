"""Many candidates at once: a loss for each, by inner products of gradients that are never written down where that is cheaper."""
