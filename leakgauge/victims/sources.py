"""Where a network comes from: a function of the user's, a library's name, a local folder.

Nothing is downloaded, no pretrained weights are fetched, and no code that a file brings along is run: exported programs (.pt2) are
refused, since torch's reader unpickles them.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import nn

from leakgauge.core.algorithm import is_declared
from leakgauge.core.errors import MissingExtra, UsageError, one_line
from leakgauge.core.registry import LIBRARIES, imported
from leakgauge.core.types import Model, Rng

KEY = "module.module"
_CLASSES = ("num_classes", "classes", "n_classes")
"""What functions call the number of classes."""


def network(source: str, classes: int, rng: Rng) -> nn.Module | Model:
    """Return the network that a source names (see `Module`), with fresh weights from `rng`. Raises UsageError without one."""
    kind, _, name = source.partition(":")
    if source.endswith((".pt2", ".pt", ".pth", ".ckpt", ".bin")):
        raise UsageError(
            f"{KEY}: got the file {source!r}, which torch would unpickle, and so run what is in it, expected module:function; load "
            "it in a function of your own, if you trust it; weights alone go to `weights`"
        )
    if not name:
        raise UsageError(
            f"{KEY}: got {source!r}, expected module:function, torchvision:NAME, timm:NAME or hf:FOLDER; name one of these"
        )
    with torch.random.fork_rng(
        devices=[]
    ):  # from torch's global generator, networks take their fresh weights; it is left as it was
        if kind in _LIBRARIES:
            return _LIBRARIES[kind](name, classes, rng)
        return _called(imported(source, f"{KEY}: {source!r}", "a network at module:name", "correct the path"), source, classes, rng)


def _called(make: Any, source: str, classes: int, rng: Rng) -> nn.Module | Model:
    """What a class or function makes, told the number of classes where it asks for that."""
    if isinstance(make, nn.Module | Model):
        return make
    if not (inspect.isclass(make) or inspect.isroutine(make)):
        raise UsageError(f"{KEY}: {source!r} is of type {type(make).__name__}, expected a class or function that makes a network")
    if not _is_for_networks(make):
        raise UsageError(
            f"{KEY}: {source!r} does not say that it makes a network, so it is not called; expected a subclass of torch.nn.Module, "
            "a function in a file of yours, or an installed one whose annotation says that it returns a network; correct the path, "
            "or wrap it in a function of yours"
        )
    try:
        known = inspect.signature(make).parameters
        asked = {name: classes for name in _CLASSES if name in known and known[name].default is inspect.Parameter.empty}
        made = _seeded(lambda: make(**asked), rng)
    except Exception as error:
        raise UsageError(
            f"{KEY}: {source!r} raised {type(error).__name__} ({one_line(error)}), expected a network; let it take no "
            "arguments, or num_classes alone"
        ) from error
    if not isinstance(made, nn.Module | Model):
        raise UsageError(f"{KEY}: {source!r} gives {type(made).__name__}, expected a torch.nn.Module; return the network")
    return made


def _is_for_networks(make: Any) -> bool:
    """Whether something may be called for a network: what an installed package has, and makes none, may do anything."""
    if inspect.isclass(make):
        return issubclass(make, nn.Module)
    if is_declared(make) or not _is_installed(getattr(make, "__module__", None)):
        return True
    try:
        returned = get_type_hints(make).get("return")
    except (NameError, TypeError, AttributeError):
        return False
    return inspect.isclass(returned) and issubclass(returned, nn.Module | Model)


def _is_installed(module: str | None) -> bool:
    """Whether a module belongs to Python or to an installed package; so does one that has no file, as what is written in C."""
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    places = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return file is None or any(Path(file).resolve().is_relative_to(place) for place in places)


def _torchvision(name: str, classes: int, rng: Rng) -> nn.Module:
    models = _library("torchvision.models", "torchvision", "torchvision")
    return _made(name, "torchvision", lambda: models.get_model(name, weights=None, num_classes=classes), rng)


def _timm(name: str, classes: int, rng: Rng) -> nn.Module:
    timm = _library("timm", "timm", "timm")
    return _made(name, "timm", lambda: timm.create_model(name, pretrained=False, num_classes=classes), rng)


def _hugging_face(folder: str, _: int, rng: Rng) -> nn.Module:
    if not Path(folder).is_dir():
        raise UsageError(
            f"{KEY}: got {folder!r}, expected the folder of a model with config.json, which is on this machine; check it"
        )
    library = _library("transformers", "transformers", "transformers")
    library.utils.logging.disable_progress_bar()
    # Attention as plain products: the fused kernels have no second derivative, which attacks ask for.
    given = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True, "attn_implementation": "eager"}
    return _made(folder, "transformers", lambda: library.AutoModelForImageClassification.from_pretrained(folder, **given), rng)


def normalization(source: str, net: nn.Module | Model) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and deviation by which pixels are normalized for a library's network, as far as the library says.

    Raises UsageError for a folder whose preprocessor_config.json is none.
    """
    kind, _, name = source.partition(":")
    if kind == "timm":
        said = getattr(net, "pretrained_cfg", None) or {}
        return (tuple(said["mean"]), tuple(said["std"])) if said.get("mean") and said.get("std") else None
    path = Path(name) / "preprocessor_config.json"
    if kind != "hf" or not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not said.get("do_normalize", True) or "image_mean" not in said or "image_std" not in said:
            return None
        return tuple(map(float, said["image_mean"])), tuple(map(float, said["image_std"]))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{KEY}: {str(path)!r} cannot be read ({one_line(error)}), expected image_mean and image_std, a number a channel; mend "
            "it, or remove it and set mean and std"
        ) from error


def _library(module: str, name: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises a RuntimeError
        if isinstance(error, RuntimeError):
            raise UsageError(
                f"{KEY}: {name} cannot be imported ({one_line(error)}), expected one that fits torch; install that"
            ) from error
        raise MissingExtra(f"a network of {name}", extra) from error


def _made(name: str, library: str, make: Callable[[], Any], rng: Rng) -> nn.Module:
    try:
        net: nn.Module = _seeded(make, rng)
    except Exception as error:
        raise UsageError(
            f"{KEY}: {library} has no {name!r} ({one_line(error)}), expected a network for images; check the name"
        ) from error
    return net


def _seeded(make: Callable[[], Any], rng: Rng) -> Any:
    torch.manual_seed(int(torch.randint(2**62, (1,), generator=rng)))  # here, since an import may have used the generator, too
    return make()


_LIBRARIES: dict[str, Callable[[str, int, Rng], nn.Module]] = dict(
    zip(LIBRARIES, (_torchvision, _timm, _hugging_face), strict=True)
)
