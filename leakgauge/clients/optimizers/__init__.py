"""Local optimizers as pure steps, differentiable and equal to `torch.optim`."""
