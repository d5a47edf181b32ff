"""FashionMNIST: 70,000 images of clothing, shown as a constant current or row by row."""

from __future__ import annotations

import torch

from squat.checks import check_choice
from squat.data.dataset import Dataset, Entry, Split
from squat.data.events import check_steps
from squat.data.inputs import Constant, Frames, Inputs
from squat.data.readers import read_idx
from squat.data.sources import Source, locate

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FILES = {
    "train images": Source(
        "fashion_mnist/train-images-idx3-ubyte.gz",
        sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        size=26_421_880,
        url=f"{ADDRESS}/train-images-idx3-ubyte.gz",
    ),
    "train labels": Source(
        "fashion_mnist/train-labels-idx1-ubyte.gz",
        sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        size=29_515,
        url=f"{ADDRESS}/train-labels-idx1-ubyte.gz",
    ),
    "test images": Source(
        "fashion_mnist/t10k-images-idx3-ubyte.gz",
        sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        size=4_422_102,
        url=f"{ADDRESS}/t10k-images-idx3-ubyte.gz",
    ),
    "test labels": Source(
        "fashion_mnist/t10k-labels-idx1-ubyte.gz",
        sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        size=5_148,
        url=f"{ADDRESS}/t10k-labels-idx1-ubyte.gz",
    ),
}
"""The four published files. Their MD5 sums are the ones Zalando publishes; SHA-256 is compared because it is safe."""
SIDE = 28
VALIDATION_SHARE = 6
LICENCE = "MIT; Zalando SE"
SUMMARY = "70,000 images of clothing, as a constant current or as 28 rows in 28 steps"
SPLIT_RULE = "the published 10,000 test images; the last 10,000 training images are validation, 50,000 are training"


def load_fashion_mnist(*, mode: str = "static", steps: int | None = None, layout: str = "flat") -> Dataset:
    """FashionMNIST with pixels as integers 0 to 255, 10 classes.

    Args:
        mode: "static" (the image at every step) or "sequential" (row t at step t).
        steps: time steps `T`: static any number >= 1, by default 25; sequential 28.
        layout: for static images, "flat" `[T, B, 784]` or "image" `[T, B, 1, 28, 28]`; sequential is `[28, B, 28]`.

    Returns:
        The data set: 50,000 / 10,000 / 10,000 images.

    Raises:
        TypeError, ValueError: an option out of range; a file is damaged, or missing and cannot be downloaded.

    Source: H. Xiao, K. Rasul, R. Vollgraf 2017, "Fashion-MNIST", arXiv 1708.07747.

    Example:
        >>> sum(source.size for source in FILES.values())  # bytes that are downloaded once
        30878645
        >>> fashion = load_fashion_mnist(mode="static", steps=25)  # doctest: +SKIP
        >>> fashion.train.batch(torch.arange(8))[0].shape          # doctest: +SKIP
        torch.Size([25, 8, 784])
    """
    check_choice("mode", mode, ("static", "sequential"))
    check_choice("layout", layout, ("flat", "image"))
    if mode == "sequential" and (steps not in (None, SIDE) or layout != "flat"):
        raise ValueError(f"mode='sequential' shows {SIDE} rows in {SIDE} steps; leave out `steps` and `layout`")
    steps = check_steps((25 if mode == "static" else SIDE) if steps is None else steps)
    paths = {name: locate(source) for name, source in FILES.items()}
    arrays = {name: torch.from_numpy(read_idx(path)) for name, path in paths.items()}

    def inputs(images: torch.Tensor) -> Inputs:
        if mode == "sequential":
            return Frames(images, SIDE)
        return Constant(images.flatten(1) if layout == "flat" else images.unsqueeze(1), steps)

    train = Split(inputs(arrays["train images"]), arrays["train labels"].long())
    training = len(train) - len(train) // VALIDATION_SHARE
    return Dataset(
        name="fashion_mnist",
        train=train.take(torch.arange(training)),
        validation=train.take(torch.arange(training, len(train))),
        test=Split(inputs(arrays["test images"]), arrays["test labels"].long()),
        classes=10,
        input_max=255,
        input_scale=1 / 255,
        description=f"Images of clothing, {SIDE} x {SIDE} pixels of 0 to 255: "
        + ("each image at every step." if mode == "static" else "one row a step."),
        split_rule=SPLIT_RULE,
        licence=LICENCE,
        source=str(paths["train images"].parent),
    )


ENTRY = Entry(load_fashion_mnist, SUMMARY, LICENCE, tuple(FILES.values()))
