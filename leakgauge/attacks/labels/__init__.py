"""Labels: what an adversary makes of them."""
