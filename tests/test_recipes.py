"""Every recipe builds, survives JSON, and runs two steps on made-up data of its shape."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from squat.ablation.presets import preset
from squat.models import build_network
from squat.train import RunConfig
from squat.train.losses import loss_of
from squat.train.module import build_optimizer

FOLDER = Path(__file__).parents[1] / "recipes"
FILES = sorted(path.stem for path in FOLDER.glob("*.py"))


def recipes() -> list[tuple[str, str]]:
    sys.path.insert(0, str(FOLDER))
    try:
        return [(file, name) for file in FILES for name in import_module(file).RECIPES]
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize(("file", "name"), recipes())
def test_recipe(file: str, name: str) -> None:
    config = sys.modules[file].RECIPES[name](seed=3)
    assert RunConfig.from_json(config.to_json()) == config
    assert config.seed == 3
    network = build_network(config.network, config.seed)
    optimizer = build_optimizer(network, config.train)
    constant = config.network.input_max > 1
    x = torch.randint(0, config.network.input_max + 1, (1 if constant else 8, 4, config.network.inputs)).float()
    x = x.expand(8, -1, -1)
    losses = []
    for _ in range(2):
        loss = loss_of(network(x), torch.tensor([0, 1, 2, 3]), 8, config.train.loss, config.train.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] != losses[0]
    assert all(value == value for value in losses)


@pytest.mark.parametrize(("file", "name"), [("fashion_mnist", "fashion"), ("spoken_digits", "digits")])
def test_recipes_are_the_cells_of_the_preset(file: str, name: str) -> None:
    config, module = preset(name), sys.modules[file]
    for make, cell in ((module.float_baseline, "float"), (module.quantized, "qat+squat")):
        rate = config.learning_rates[cell]
        run = make(seed=config.base.seed)
        assert run.train == replace(config.base.train, learning_rate=rate)
        assert run.data == config.base.data
        assert replace(run.network, weights=None, states=None) == config.base.network
    short = module.quantized(hidden=8, epochs=2)
    assert (short.network.hidden, short.train.epochs) == ((8,), 2)
