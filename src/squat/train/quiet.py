"""`quiet`: Lightning without tips, device lists and warnings about what is deliberate here or not the user's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_DROPPED = (
    ".*does not have many workers.*",  # data lie in memory
    ".*exists and is not empty.*",  # the folder holds the run that is resumed
    ".*number of training batches .* is smaller than the logging interval.*",  # figures are logged by epoch
    r".*isinstance\(treespec, LeafSpec\)` is deprecated.*",  # Lightning 2.6 on torch 2.13, nothing a user can do
)


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's messages below errors are dropped inside, and the warnings listed here; all others pass."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in _DROPPED:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
