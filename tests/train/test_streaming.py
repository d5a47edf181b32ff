"""Training on events that stay on disk: the batches of memory, made ahead, repeatable, and the same after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from event_formats import write_own_events
from squat import IntWeight, ThresholdCentered
from squat.data import load
from squat.models import NetworkConfig
from squat.train import AugmentConfig, DataConfig, RunConfig, TrainConfig, evaluate, fit
from squat.train.ahead import DEPTH, ahead
from squat.train.loader import AheadLoader, training_loader
from synthetic import assert_equal_weights, history_rows, weights_of

AUGMENT = AugmentConfig(channel_shift=1, time_shift=1, time_jitter=1, event_drop=0.1, time_warp=0.1)


def config_of(path: Path, stream: bool = True, augment: AugmentConfig = AUGMENT) -> RunConfig:
    options = {"steps": 10, "stream": stream}
    network = NetworkConfig(
        inputs=12, hidden=(16,), classes=3, input_gain=3.0, weights=IntWeight(4), states=ThresholdCentered(4)
    )
    train = TrainConfig(epochs=4, batch_size=10, learning_rate=4e-2, logit_scale=5.0, augment=augment)
    return RunConfig(DataConfig(str(path), options), network, train, seed=2)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own_events(tmp_path_factory.mktemp("events") / "own.h5")


@pytest.fixture(scope="module")
def streamed(events: Path, tmp_path_factory: pytest.TempPathFactory):
    """A streamed and augmented run, never interrupted."""
    config = config_of(events)
    return config, fit(config, tmp_path_factory.mktemp("whole"))


def test_without_augmentation_a_streamed_run_equals_one_in_memory(events: Path, tmp_path: Path) -> None:
    results = []
    for stream in (False, True):
        config = config_of(events, stream, AugmentConfig())
        results.append(fit(config, tmp_path / str(stream)))
    assert_equal_weights(*(weights_of(result) for result in results))
    test = [evaluate(result.network, load(str(events), steps=10, stream=True).test) for result in results]
    assert test[0] == test[1]


def test_a_streamed_run_learns_and_repeats(streamed, tmp_path: Path) -> None:
    config, result = streamed
    assert result.validation_accuracy > 0.6
    assert_equal_weights(weights_of(fit(config, tmp_path)), weights_of(result))


KILLED = """
import json, os, pathlib, signal, sys
from squat.data.event_file import EventFile
from squat.train import RunConfig, fit

real, remaining = EventFile.mapped, int(sys.argv[2])

def mapped(*args):
    global remaining
    remaining -= 1
    if remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)

EventFile.mapped = mapped
fit(RunConfig.from_json(json.loads(sys.stdin.read())), pathlib.Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(streamed, tmp_path: Path) -> None:
    """Killed while the third epoch's batches are read; an epoch reads four of training and one of validation."""
    config, result = streamed
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(2 * 5 + 4)]
    done = subprocess.run(command, input=json.dumps(config.to_json()), text=True, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert len(history_rows(tmp_path)) == 2
    assert_equal_weights(weights_of(fit(config, tmp_path)), weights_of(result))


def test_the_loader_varies_samples_by_epoch_and_not_by_batch(events: Path) -> None:
    split = load(str(events), steps=10, stream=True).train
    by_epoch = []
    for batch_size, epoch in ((10, 0), (7, 0), (10, 1)):
        loader = training_loader(split, batch_size, seed=5, augment=replace(AUGMENT, flip=True))
        assert isinstance(loader, AheadLoader)
        loader.sampler.set_epoch(epoch)
        samples = dict.fromkeys(range(len(split)))
        for x, indices in zip(loader, loader.batch_sampler, strict=True):
            assert torch.equal(x[1], split.labels[indices])
            samples.update(zip(indices, x[0].unbind(1), strict=True))
        by_epoch.append(torch.stack(list(samples.values())))
    assert torch.equal(by_epoch[0], by_epoch[1])
    assert not torch.equal(by_epoch[0], by_epoch[2])


def test_a_bad_event_ends_the_run_with_its_file_and_sample(tmp_path: Path) -> None:
    units = [0] * 18000
    units[300 * 9] = 12
    path = write_own_events(tmp_path / "own.h5", units=units)
    with pytest.raises(ValueError, match=r"own.h5: sample 9 has an event of time \d+ in channel 12; expected"):
        fit(config_of(path), tmp_path / "run")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("squat-ahead")]


def test_values_are_made_ahead_in_order_and_no_further() -> None:
    made: list[int] = []
    values = ahead(lambda number: made.append(number) or number, range(20))
    assert next(values) == 0
    assert len(made) <= 1 + DEPTH
    assert list(values) == list(range(1, 20))


def test_an_error_comes_in_its_place_and_a_consumer_may_leave() -> None:
    values = ahead(lambda number: 1 // (2 - number), range(9))
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(values)
    left = ahead(abs, range(100))
    next(left)
    left.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("squat-ahead")]
