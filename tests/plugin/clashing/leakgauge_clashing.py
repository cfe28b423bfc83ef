"""A plugin that claims a name that is taken."""

from leakgauge.clients.fedsgd import FedSGD

__all__ = ["FedSGD"]
