"""What every defense costs and what it buys: accuracy after training with it against what adaptive attacks find behind it."""
