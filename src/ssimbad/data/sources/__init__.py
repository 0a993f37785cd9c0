"""One module a source of images, its name the config section's: its schema and its class.

Every command reads the schemas, so a module here imports heavy packages in its functions.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssimbad.data.sources.base import Source


@cache
def sources() -> dict[str, type[Source]]:
    """Every source by its module's name: a module is one if it defines ``SOURCE``."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name: module.SOURCE for name, module in modules.items() if hasattr(module, "SOURCE")}
