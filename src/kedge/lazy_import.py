"""Libraries that take long to import, imported when they are first used.

The classes that check a recipe also compute, so their modules import torch. The command answers a typo, or describes a
run, without computing anything: torch is executed only when something of it is used.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_loader
from types import ModuleType
from typing import Any

# What the import statement itself looks at in a module that is there, and inspect.getmodule in all that are there, both
# without using it. importlib's LazyLoader loads for these too.
LOOKED_AT = ("__spec__", "__class__", "__dict__", "__file__", "__name__")
_locks: dict[str, threading.RLock] = {}  # of each module that was to wait, by its name
_executing = set[str]()


class _LazyModule(ModuleType):
    """A module that executes itself, in place, at the first look into it."""

    def __getattribute__(self, name: str) -> Any:
        if name not in LOOKED_AT:
            _execute(self)
        return ModuleType.__getattribute__(self, name)


def _execute(module: ModuleType) -> None:
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None  # as import_lazily found it
    with _locks[spec.name]:  # other threads wait until all of it is there
        if type(module) is not _LazyModule or spec.name in _executing:  # another was faster, or it looks at itself
            return
        _executing.add(spec.name)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(spec.name, None)  # the next import tries again
            raise
        finally:
            module.__class__ = ModuleType  # type: ignore[assignment]  # it becomes a plain module
            _executing.discard(spec.name)


class _Loaded(Loader):
    """Hands out a module as it is."""

    def __init__(self, module: ModuleType):
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that is there."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """It was executed before; import has given it another spec since."""
        module.__spec__ = self.spec


class _SubmodulesOnce(MetaPathFinder):
    """Keeps submodules from being executed twice.

    ``import torch.fft`` reads ``torch.__path__`` after it has looked whether ``torch.fft`` is there. Where torch was
    still to be executed, that executes it, torch imports ``torch.fft`` itself, and the import goes on to do so again.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of a submodule that came to be while it was looked for; not of one that is loaded anew on purpose."""
        module = sys.modules.get(fullname)
        if module is None or target is not None:
            return None
        if not any(fullname.startswith(f"{package}.") for package in _locks):
            return None
        return spec_from_loader(fullname, _Loaded(module))


_submodules = _SubmodulesOnce()


def import_lazily(name: str) -> None:
    """From now on ``import NAME`` costs nothing; the module is executed when it is first used.

    Does nothing if it is loaded already, or not installed.
    """
    if name in sys.modules:
        return
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # its package is not installed
        return
    if spec is None or spec.loader is None:
        return
    if _submodules not in sys.meta_path:
        sys.meta_path.insert(0, _submodules)
    _locks[name] = threading.RLock()
    module = module_from_spec(spec)
    module.__class__ = _LazyModule
    sys.modules[name] = module


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Inside, what computes is imported in four fifths of the time.

    Libraries are millions of objects that stay, and Python does not look for garbage among them again and again; the
    statistics of SciPy that diffusers' schedulers import, a third of a second, wait until one of them is used.
    """
    import_lazily("scipy.stats")
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
