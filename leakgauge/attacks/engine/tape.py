"""What the layers of a network saw in one forward pass: from that and a loss's slopes, every gradient of a weight follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Entry(NamedTuple):
    """A call of a layer: what kind it is, its parameters' names, what it was given, what it gave, and how it was set.

    `edge` is where the derivative by what it gave is asked for: later operations may put something else in its place.
    """

    kind: str
    weight: str
    bias: str | None
    given: Tensor
    out: Tensor
    edge: GradientEdge | None  # None where it has no derivative
    settings: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@final
class Tape(TorchFunctionMode):
    """Notes the convolutions, linear layers and normalizations that use the parameters of a network, as it runs."""

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(value): name for name, value in params.items()}
        self.entries: list[Entry] = []
        self._elsewhere: set[str] = set()  # parameters that other operations use

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the call, and note it if it is one of a layer."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        read = _READERS.get(func)
        if read is None and func not in _LOOKS:
            self._elsewhere.update(self._named(args), self._named(tuple(kwargs.values())))
        elif read is not None:
            kind, given, weight, bias, settings = read(*args, **kwargs)
            self._elsewhere.update(self._named([given]))
            if id(weight) in self._names:
                named = None if bias is None else self._names.get(id(bias))
                edge = get_gradient_edge(out) if out.requires_grad else None
                kind = kind if given.dtype == out.dtype == weight.dtype else "other"  # as under autocast
                self.entries.append(Entry(kind, self._names[id(weight)], named, given, out, edge, settings))
            else:
                self._elsewhere.update(self._named([bias]))
        return out

    @property
    def followed(self) -> list[Entry]:
        """The entries whose gradients follow from them: of known kinds, with parameters that nothing else uses."""
        uses = Counter(name for entry in self.entries for name in entry.names) + Counter(self._elsewhere)
        return [entry for entry in self.entries if entry.kind != "other" and all(uses[name] == 1 for name in entry.names)]

    def _named(self, values: Any) -> Iterator[str]:
        """The names of the parameters among arguments, in lists and tuples of these as well."""
        for value in values:
            if isinstance(value, list | tuple):
                yield from self._named(value)
            elif id(value) in self._names:
                yield self._names[id(value)]


_Read = tuple[str, Tensor, Any, Any, Mapping[str, Any]]


# The names of arguments are torch's, for calls by keyword.


def _conv(
    input: Tensor, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> _Read:
    kind = "conv" if groups == 1 and not isinstance(padding, str) else "other"
    settings = {"kernel_size": weight.shape[2:], "stride": stride, "padding": padding, "dilation": dilation}
    return kind, input, weight, bias, settings


def _linear(input: Tensor, weight: Any, bias: Any = None) -> _Read:
    return "linear", input, weight, bias, {}


def _batch_norm(
    input: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> _Read:
    plain = partial(functional.batch_norm, input, running_mean, running_var, eps=eps)
    return "other" if training else "channels", input, weight, bias, {"plain": plain}


def _group_norm(input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> _Read:
    return "channels", input, weight, bias, {"plain": partial(functional.group_norm, input, num_groups, eps=eps)}


def _layer_norm(input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> _Read:
    kind = "last" if len(normalized_shape) == 1 else "other"
    return kind, input, weight, bias, {"plain": partial(functional.layer_norm, input, normalized_shape, eps=eps)}


_READERS: Mapping[Any, Any] = {
    torch.conv2d: _conv,
    functional.conv2d: _conv,
    functional.linear: _linear,
    functional.batch_norm: _batch_norm,
    functional.group_norm: _group_norm,
    functional.layer_norm: _layer_norm,
}
_LOOKS: frozenset[Any] = frozenset(
    {getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "requires_grad", "is_leaf", "grad", "layout")}
    | {Tensor.size, Tensor.dim, Tensor.numel}
)
"""What asks of a parameter how it is made, and of none of its numbers."""
