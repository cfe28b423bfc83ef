"""How generators are trained: networks, objectives, checkpoints, and how good the result is."""
