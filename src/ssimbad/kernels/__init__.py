"""Loops that Numba compiles for a CPU: NumPy arrays in, NumPy arrays out, the rest of the package unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock


def compiled(
    signature: str, *, slp: bool = False, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles loops at once, for arguments of one signature.

    The result is kept on disk for all processes, where it can be, until the file of the loops changes.
    Numba reads the choice of the SLP pass from a setting of the process, set here for one compilation.

    Args:
        signature: the arguments' types, as Numba writes them.
        slp: whether LLVM's SLP pass makes vectors of neighbouring operations outside loops.
        options: further ones of :func:`numba.njit`.
    """
    config: Any = numba.config

    def decorate(loops: Callable[..., Any]) -> Callable[..., Any]:
        with global_compiler_lock:
            before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, int(slp)
            try:
                return numba.njit(signature, cache=True, **options)(loops)
            except RuntimeError:  # nowhere to keep it
                return numba.njit(signature, **options)(loops)
            finally:
                config.SLP_VECTORIZE = before

    return decorate
