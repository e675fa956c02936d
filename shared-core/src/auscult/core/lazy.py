"""Public names of a package that are imported when they are first used.

A package lists where its names live and stays as light as numpy to import::

    __getattr__, __dir__ = lazy.attach(__name__, {"Reweigher": "reweigher"})
"""

import importlib
import sys
from collections.abc import Callable, Mapping


def attach(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the module-level ``__getattr__`` and ``__dir__`` (PEP 562) of a package.

    Parameters
    ----------
    package
        The package's ``__name__``.
    names
        Public name -> submodule (relative, without a dot) that defines it. No name may be a submodule's: importing
        that submodule would put the module in the name's place.
    """
    shadowed = names.keys() & set(names.values())
    if shadowed:
        raise ValueError(f"{package} cannot offer {sorted(shadowed)}: a submodule has the same name")

    def __getattr__(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{names[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return __getattr__, __dir__
