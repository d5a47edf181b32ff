"""The ablation's config: JSON and every refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ablation_fakes import small_config
from squat.ablation import AblationConfig
from squat.quant.spec import Uniform


def test_json_round_trip_and_bits_alike() -> None:
    config = small_config(bits=(4, (8, 2)), learning_rates={"qat": 1e-3}, betas={"uniform/4": 0.8})
    assert config.bits == ((4, 4), (8, 2))
    assert AblationConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert hash(config) == hash(small_config(bits=(4, (8, 2)), learning_rates={"qat": 1e-3}, betas={"uniform/4": 0.8}))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"cells": ("quat",)}, ValueError, "cell='quat': expected one of 'float', 'state-ptq'.*register_cell"),
        ({"schemes": ("unifrom",)}, ValueError, "scheme='unifrom': expected one of 'uniform'.*register_scheme"),
        ({"schemes": ()}, ValueError, r"schemes=\(\): expected at least one entry"),
        ({"schemes": "uniform"}, TypeError, "schemes='uniform': expected a list; put a single value in brackets"),
        ({"name": 3}, TypeError, "name=3: expected text"),
        ({"base": None}, TypeError, "base=None: expected a RunConfig"),
        ({"learning_rates": (1e-3,)}, TypeError, r"learning_rates=\(0.001,\): expected a dict"),
        ({"betas": None}, TypeError, "betas=None: expected a dict"),
        ({"seeds": (0, 0)}, ValueError, r"seeds=\(0, 0\): an entry occurs twice"),
        ({"seeds": (-1,)}, ValueError, "seed=-1: expected an integer >= 0"),
        ({"bits": (1,)}, ValueError, "weight bits=1: expected an integer from 2 to 8"),
        ({"bits": ((4, 9),)}, ValueError, "state bits=9: expected an integer from 1 to 8"),
        ({"bits": ("4",)}, TypeError, "bits entry '4': expected an integer or a pair"),
        ({"learning_rates": {"ptq": 1e-3}}, ValueError, r"learning_rates\['ptq'\]: 'ptq' is calibrated, not trained"),
        ({"learning_rates": {"qat": 0.0}}, ValueError, r"learning_rates\['qat'\]=0.0: expected a finite number > 0"),
        ({"betas": {"uniform": 0.9}}, ValueError, r"betas\['uniform'\]: expected a key 'scheme/state bits'"),
        ({"betas": {"uniform/4": 1.5}}, ValueError, r"betas\['uniform/4'\]=1.5: expected a finite number in \[0, 1\]"),
        ({"state_ranges": ("wide",)}, ValueError, "state_range='wide': expected one of 'published', 'calibrated'"),
        ({"granularity": "row"}, ValueError, "granularity='row': expected one of 'tensor', 'channel'"),
        ({"calibration_samples": 0}, ValueError, "calibration_samples=0: expected an integer >= 1"),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        small_config(**changes)


def test_a_base_that_fixes_what_the_grid_varies() -> None:
    base = small_config().base
    with pytest.raises(ValueError, match=r"base.network has quantized weights or states; leave both None"):
        small_config(base=replace(base, network=replace(base.network, states=Uniform(4))))
    with pytest.raises(ValueError, match=r"early_stopping_patience: no early stopping inside an ablation"):
        small_config(base=replace(base, train=replace(base.train, early_stopping_patience=3)))


def test_documents_with_unknown_and_missing_keys() -> None:
    document = small_config().to_json()
    with pytest.raises(ValueError, match="ablation: unknown key 'seed'"):
        AblationConfig.from_json({**document, "seed": 3})
    del document["cells"]
    with pytest.raises(ValueError, match="ablation: key 'cells' is missing"):
        AblationConfig.from_json(document)
