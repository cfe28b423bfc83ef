"""A computation as one compiled graph, derivatives and all: for searches of thousands of steps.

`make_fx` traces it, with the derivatives that `autograd.grad` takes within it, to a graph without derivatives of its own, which
Inductor compiles for a fixed shape; torch.compile refuses derivatives of derivatives from outside (pytorch issue 91469). What the
computation holds besides its arguments, such as weights and updates, become arguments too, so that one compilation, which is kept
on disk, serves all networks of a kind.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, fx

from leakgauge.attacks.engine.gathering import gathered
from leakgauge.core.caching import cache_folder
from leakgauge.core.private import FOLDER

Computation = Callable[..., tuple[Tensor, ...]]

COMPILE = "LEAKGAUGE_COMPILE"
"""The environment variable that says when steps are compiled: `always`, `never`, or, by default, `auto`, for long searches."""
LONG = 10_000
"""Evaluations of a search from which on a compilation is expected to pay (see docs/performance.md)."""

_log = logging.getLogger(__name__)


def is_worthwhile(evaluations: int) -> bool:
    """Return whether a search of so many evaluations compiles its step."""
    wanted = os.environ.get(COMPILE, "auto")
    return wanted == "always" or (wanted == "auto" and evaluations >= LONG)


def compiled(computation: Computation, arguments: Sequence[Tensor]) -> Computation | None:
    """Return a computation of floating tensors, compiled for the shapes of these; None where that fails, or gives anything else.

    What it is given later has to have the same shapes. Its results here and nearby are compared with those of the computation
    itself, which chance, or a decision on a number, would make others. A failure, such as for want of a compiler, is logged.
    """
    if not computation(*arguments):
        return None
    nearby = [value + 0.1 * torch.linspace(0, 1, value.numel()).to(value).reshape(value.shape) for value in arguments]
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's own, about itself
            compute = _compiled(computation, arguments)
            agree = [
                _agree(one, other) for at in (arguments, nearby) for one, other in zip(compute(*at), computation(*at), strict=True)
            ]
    except Exception as error:  # noqa: BLE001 of the tracer, the compiler, the machine: the computation itself is still there
        _log.info("a step is not compiled: %s: %s", type(error).__name__, str(error).partition("\n")[0])
        return None
    if all(agree):
        return compute
    _log.warning("a compiled step gives other numbers than the step itself, which is taken instead")
    return None


def _compiled(computation: Computation, arguments: Sequence[Tensor]) -> Computation:
    from torch.fx.experimental.proxy_tensor import make_fx  # half a second, which a short search does not have

    _keep_on_disk()
    graph = make_fx(computation, {torch.ops.aten.col2im.default: gathered})(
        *(value.clone().requires_grad_() for value in arguments)
    )
    constants = _lifted(graph)
    run = torch.compile(graph.forward, dynamic=False, options=_options())
    with torch.no_grad(), _without_atomics():
        run(*(value.detach() for value in arguments), *constants)
    later = _without_atomics if _UNGUARDED is None else nullcontext  # a guard would see the change, and compile anew with them

    def compute(*values: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad(), later():
            return tuple(run(*(value.detach() for value in values), *constants))

    return compute


@contextmanager
def _without_atomics() -> Iterator[None]:
    """Let Inductor leave sums into places to torch, as it does where results must not depend on the order of threads.

    Of torch 2.13.0, its own code for them writes beyond the end of the memory (see `gathering`).
    """
    is_set, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(is_set, warn_only=warns)


def _agree(found: Tensor, expected: Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    difference = torch.linalg.vector_norm((found - expected).double())
    return bool(difference <= _TOLERANCE * torch.linalg.vector_norm(expected.double())) or not bool(expected.isfinite().all())


def _lifted(graph: fx.GraphModule) -> list[Tensor]:
    """Turn the constants of a graph into arguments behind those that it has, and return them in order."""
    last = [node for node in graph.graph.nodes if node.op == "placeholder"][-1]
    constants: dict[str, Tensor] = {}
    places = {}
    for node in list(graph.graph.nodes):
        if node.op != "get_attr":
            continue
        if node.target not in constants:
            with graph.graph.inserting_after(last):
                last = graph.graph.placeholder(f"constant_{len(constants)}")
            last.meta = dict(node.meta)
            constants[node.target], places[node.target] = getattr(graph, node.target).detach(), last
        node.replace_all_uses_with(places[node.target])
        graph.graph.erase_node(node)
    graph.recompile()
    return list(constants.values())


def _keep_on_disk() -> None:
    """Let torch keep what it compiles in a folder of this user's, and not where anyone may have put something."""
    try:
        folder = cache_folder() / "compiled"
        folder.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # no home, or none that can be written to: torch has a place of its own
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def _options() -> dict[str, str | int | bool | Callable[..., object]]:
    """How Inductor compiles.

    Code for the rest of a loop, of fewer numbers than a register holds, writes a whole register (pytorch issue 196681). And each
    graph is for one shape and one search, so that to look whether it still fits, some sixty tensors in every step, finds nothing.
    """
    plain: dict[str, str | int | bool | Callable[..., object]] = {"cpp.enable_loop_tail_vec": False}
    return plain if _UNGUARDED is None else {**plain, "guard_filter_fn": _UNGUARDED}


_UNGUARDED: Callable[..., object] | None = getattr(torch.compiler, "skip_all_guards_unsafe", None)
"""Of newer versions of torch."""
_TOLERANCE = 1e-3
"""How far compiled results may be off: sums in another order, of 32 bits."""
