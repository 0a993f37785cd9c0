"""Lightning, without the seconds that torchmetrics takes to be imported.

Lightning wants two classes of torchmetrics, to tell metrics among values and to keep what ``self.log`` is
given, which the training loop does not call. The package itself imports all its metrics, and with them
torchvision, scipy.signal and, where it is installed, transformers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType

from torch import nn

__all__ = [
    "Callback",
    "Checkpoint",
    "DDPStrategy",
    "LightningEnvironment",
    "LightningModule",
    "TensorBoardLogger",
    "Trainer",
    "WeightAveraging",
]


@contextmanager
def _without_torchmetrics() -> Iterator[None]:
    """A stand-in with what Lightning wants of torchmetrics, where that is not there already."""
    if "torchmetrics" in sys.modules:
        yield
        return
    module = ModuleType("torchmetrics")
    classes = {name: type(name, (nn.Module,), {}) for name in ("Metric", "MetricCollection")}
    vars(module).update(classes, __version__=version("torchmetrics"))
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


with _without_torchmetrics():
    from pytorch_lightning import Callback, LightningModule, Trainer
    from pytorch_lightning.callbacks import Checkpoint, WeightAveraging
    from pytorch_lightning.loggers import TensorBoardLogger
    from pytorch_lightning.plugins.environments import LightningEnvironment
    from pytorch_lightning.strategies import DDPStrategy
