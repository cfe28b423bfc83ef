"""A Flower app: one photograph a client, one step of SGD a round."""
