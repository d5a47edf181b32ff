"""What does not fit into memory is refused by name, before anything is allocated."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from squat import checks
from squat.checks import check_memory, gigabytes
from squat.data import load
from squat.data.events import bin_events
from squat.data.inputs import Constant, pack_spikes
from squat.models import NetworkConfig, build_network
from squat.models.size import check_training_memory, weights_and_values
from squat.train import DataConfig, RunConfig, TrainConfig, fit

HUGE = 10**9


@given(
    architecture=st.sampled_from(["feedforward", "recurrent"]),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    inputs=st.integers(1, 9),
)
def test_weights_are_those_of_the_network(architecture, sizes, inputs):
    config = NetworkConfig(architecture, inputs=inputs, hidden=tuple(sizes), classes=3, bias=False)
    built = sum(one.numel() for name, one in build_network(config, 0).named_parameters() if "weight" in name)
    assert weights_and_values(config) == (built, sum(sizes) + 3)


def test_weights_of_convolutions_are_those_of_the_network():
    config = NetworkConfig("conv", inputs=(2, 9, 8), hidden=(3, 4), classes=3, bias=False)
    built = sum(one.numel() for name, one in build_network(config, 0).named_parameters() if "weight" in name)
    assert weights_and_values(config) == (built, 3 * 72 + 4 * 16 + 3)


def test_a_network_that_is_too_large_is_refused():
    for config in (
        NetworkConfig("feedforward", hidden=(HUGE, HUGE)),
        NetworkConfig("recurrent", hidden=(HUGE,)),
        NetworkConfig("conv", inputs=(1, 8, 8), hidden=(HUGE, HUGE)),
        NetworkConfig("feedforward", classes=10**30),
    ):
        with pytest.raises(ValueError, match=r"network of inputs=.*: needs .* GB of memory, this .* hidden neurons"):
            build_network(config, 0)


def test_a_training_that_is_too_large_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training of hidden=\(128,\) over 1000000 steps in batches of 10+: ne"):
        check_training_memory(NetworkConfig(), 10**6, 10**8)
    config = RunConfig(DataConfig(), NetworkConfig("feedforward", hidden=(10**11,)))
    with pytest.raises(ValueError, match=r"training of hidden=\(10+,\) over 100 steps in batches of 64: needs"):
        fit(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_batches_and_binned_data_that_are_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(checks, "_memory", lambda: 10**6)
    with pytest.raises(ValueError, match=r"a batch of 300 samples of 100 steps and 140 inputs: needs 0.0168 GB"):
        load("spoken_digits").train.batch(torch.arange(300))
    still = Constant(torch.zeros(2, 200, dtype=torch.uint8), steps=10**6)
    still.check_batch(2)  # shown at every step, held once
    with pytest.raises(ValueError, match=r"a batch of 2 samples of 1000000 steps"):
        pack_spikes(torch.zeros(2, 8, 1)).first(8).__class__(
            torch.zeros(2, 1, 1, dtype=torch.uint8), 10**6
        ).check_batch(2)
    none = torch.zeros(0, dtype=torch.int64).numpy()
    offsets = torch.zeros(3, dtype=torch.int64).numpy()
    with pytest.raises(ValueError, match=r"2 recordings of 1000 steps and 10000 channels: needs 0.01 GB"):
        bin_events(none, none, offsets, steps=1000, channels=10_000, ticks_per_bin=1)


def test_where_the_system_does_not_say_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(checks, "_memory", lambda: None)
    check_memory("anything", 10**40, "")
    assert [gigabytes(count) for count in (10**9, 10**400)] == ["1 GB", "1e+291 GB"]


@pytest.mark.parametrize(
    ("name", "value", "most"), [("epochs", 10**7, 10**6), ("threads", 10**6, 1024), ("batch_size", 10**30, 2**31 - 1)]
)
def test_counts_of_a_training_are_bounded(name, value, most):
    with pytest.raises(ValueError, match=rf"{name}={value}: expected an integer from 1 to {most}"):
        TrainConfig(**{name: value})


def test_pairs_of_sizes_are_what_the_estimate_adds():
    config = NetworkConfig("feedforward", inputs=4, hidden=(5, 6), classes=3)
    assert weights_and_values(config)[0] == sum(a * b for a, b in pairwise((4, 5, 6, 3)))
