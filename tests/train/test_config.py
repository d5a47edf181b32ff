"""Run configs: JSON round trip, identity, and what they refuse."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest

from squat.models import NetworkConfig
from squat.models.config import ADDED
from squat.quant.spec import STATE_SPECS, Anchored, ThresholdCentered
from squat.quant.weight import IntWeight
from squat.surrogate import ATan
from squat.train import AugmentConfig, DataConfig, RunConfig, TrainConfig

FULL = RunConfig(
    DataConfig("nmnist_small", {"steps": 20, "height": 17}),
    NetworkConfig(
        "conv",
        (2, 17, 17),
        (4, 8),
        weights=IntWeight(3, "channel"),
        states=Anchored(2),
        surrogate=ATan(),
        zero_reset="drop_input",
    ),
    TrainConfig(clip_grad=1, augment=AugmentConfig(1, 2, 3, 0.1), early_stopping_patience=3),
    seed=5,
)


@pytest.mark.parametrize("config", [RunConfig(), FULL], ids=["default", "full"])
def test_json_round_trip_and_identity(config: RunConfig) -> None:
    again = RunConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.id() == config.id()
    assert hash(again) == hash(config)
    assert pickle.loads(pickle.dumps(config)) == config


def test_later_fields_stand_in_the_json_form_only_where_they_are_set() -> None:
    assert not set(ADDED) & set(NetworkConfig().to_json())
    config = NetworkConfig("feedforward", batch_norm=True, dropout=0.5, input_min=-1)
    given = {"neuron": None, "batch_norm": True, "dropout": 0.5, "input_min": -1}
    assert {name: config.to_json().get(name) for name in ADDED} == given
    assert NetworkConfig.from_json(config.to_json()) == config
    assert RunConfig().id() == "65aa901acda8"


@pytest.mark.parametrize("spec", STATE_SPECS.values())
def test_every_state_spec_round_trips(spec: type) -> None:
    config = replace(RunConfig(), network=NetworkConfig(states=spec(4)))
    assert RunConfig.from_json(config.to_json()) == config


def test_id_changes_with_what_changes_results_and_not_with_spelling() -> None:
    base = RunConfig()
    assert len(base.id()) == 12
    assert base.id() == replace(base, train=TrainConfig(learning_rate=0.002)).id()
    others = [
        replace(base, seed=1),
        replace(base, train=TrainConfig(threads=2)),
        replace(base, network=NetworkConfig(states=ThresholdCentered(4))),
        replace(base, data=DataConfig("spoken_digits", {"steps": 50})),
    ]
    assert len({base.id(), *(other.id() for other in others)}) == 5
    assert DataConfig("a", {"x": 1, "y": 2}) == DataConfig("a", {"y": 2, "x": 1})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("train", "epoch"), ValueError, r"train: unknown key 'epoch'; expected some of epochs"),
        (("network", "bits"), ValueError, r"network: unknown key 'bits'"),
        (("seeds",), ValueError, r"run: unknown key 'seeds'"),
        (("train", "epochs"), TypeError, r"epochs='x': expected an integer from 1 to 1000000"),
        (("network", "beta"), TypeError, r"beta='x': expected a finite number in \[0, 1\]"),
        (("network", "weights"), TypeError, r"network.weights='x': expected a JSON object"),
        (("data", "name", 3), TypeError, r"name=3: expected a data set's name"),
        (("data", "options", {"steps": [1]}), TypeError, r"expected a dict of text to numbers"),
        (("train",), TypeError, r"run.train='x': expected a JSON object"),
        (("train", "schedule"), ValueError, r"schedule='x': expected one of 'cosine', 'constant'"),
    ],
)
def test_wrong_documents_are_refused_by_name(change: tuple, error: type, message: str) -> None:
    document = RunConfig().to_json()
    place, value = document, "x"
    if len(change) == 3:
        *change, value = change
    for key in change[:-1]:
        place = place[key]
    place[change[-1]] = value
    with pytest.raises(error, match=message):
        RunConfig.from_json(document)


def test_document_that_is_no_object() -> None:
    with pytest.raises(TypeError, match=r"run=\[\]: expected a JSON object"):
        RunConfig.from_json([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "transformer"}, r"architecture='transformer': expected one of"),
        ({"hidden": ()}, r"hidden=\(\): expected at least one hidden layer"),
        ({"hidden": (0,)}, r"hidden=0: expected an integer >= 1"),
        ({"beta": 1.5}, r"beta=1.5: expected a finite number in \[0, 1\]"),
        ({"threshold": 0.0}, r"threshold=0.0: expected a finite number > 0"),
        ({"threshold": float("nan")}, r"threshold=nan: expected a finite number > 0"),
        ({"readout": "last"}, r"readout='last': expected one of 'spike_count'"),
        ({"classes": 1}, r"classes=1: expected an integer >= 2"),
        ({"architecture": "conv", "inputs": (2, 3)}, r"inputs=\(2, 3\): expected \(channels, height, width\)"),
        ({"kernel_size": 4}, r"kernel_size=4: expected an odd size"),
    ],
)
def test_network_config_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": 4}, r"weights=4: expected an IntWeight or None"),
        ({"states": IntWeight(4)}, r"states=IntWeight.*: expected a state spec or None"),
        ({"architecture": "conv"}, r"inputs=140: expected three sizes for the conv architecture; give"),
        ({"inputs": (1, 2, 3)}, r"inputs=\(1, 2, 3\): expected an integer >= 1; recurrent networks take flat features"),
    ],
)
def test_network_config_refuses_types(arguments: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        NetworkConfig(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, r"learning_rate=0.0: expected a finite number > 0"),
        ({"clip_grad": 0.0}, r"clip_grad=0.0: expected a finite number > 0; None does not clip"),
        ({"early_stopping_patience": 0}, r"early_stopping_patience=0: .* >= 1; None trains all epochs"),
        ({"loss": "hinge"}, r"loss='hinge': expected one of"),
        ({"threads": 0}, r"threads=0: expected an integer from 1 to 1024"),
    ],
)
def test_train_config_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**arguments)


def test_augment_config_refuses() -> None:
    with pytest.raises(ValueError, match=r"event_drop=1.0: expected a probability in \[0, 1\)"):
        AugmentConfig(event_drop=1.0)
    with pytest.raises(ValueError, match=r"channel_shift=-1: expected an integer >= 0"):
        AugmentConfig(channel_shift=-1)
    with pytest.raises(ValueError, match=r"time_warp=1.0: expected a number in \[0, 1\); at 1 all events could fall"):
        AugmentConfig(time_warp=1.0)
    with pytest.raises(TypeError, match=r"flip=1: expected True or False"):
        AugmentConfig(flip=1)


def test_later_kinds_of_augmentation_leave_the_ids_of_earlier_runs_alone() -> None:
    assert set(AugmentConfig().to_json()) == {"channel_shift", "time_shift", "time_jitter", "event_drop"}
    config = AugmentConfig(flip=True, time_warp=0.1)
    assert AugmentConfig.from_json(config.to_json()) == config


def test_count_mse_needs_spike_counts() -> None:
    with pytest.raises(ValueError, match=r"expected readout='spike_count', got readout='accumulated_current'"):
        RunConfig(train=TrainConfig(loss="count_mse"))
