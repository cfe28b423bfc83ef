"""Models that have learned what images look like: densities for priors."""
