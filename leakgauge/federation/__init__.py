"""Rounds of federated training in one process: many clients, any defenses, and what the model can do with and without them."""
