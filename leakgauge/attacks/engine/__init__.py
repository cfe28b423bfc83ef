"""Ways to compute an objective and its slopes: one candidate after the other, or many at once by products of their gradients."""
