"""Labels: samples without one, and classes without a sample."""

from __future__ import annotations

import torch
from torch import Tensor

UNLABELLED = -1
"""Label of a sample without one: there are none in a training, and no accuracy on it."""


def unseen(labels: Tensor, classes: int) -> list[str]:
    """A sentence on classes without a training sample, if there are any; labels that start at 1 leave class 0 so."""
    if len(labels) == 0:
        return []
    seen = torch.unique(labels)
    missing = torch.arange(classes)[~torch.isin(torch.arange(classes), seen)].tolist()
    if not missing:
        return []
    listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    low = int(seen[0])
    start = f": labels start at {low}; number them from 0, or leave class 0 unused" if low > 0 else ""
    return [f"no training sample of {len(missing)} of {classes} classes ({listed}){start}"]
