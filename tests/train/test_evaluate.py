"""Evaluation and losses: what is reported, independent of batches, and that the network is left alone."""

from __future__ import annotations

import json

import pytest
import torch

from squat import IntWeight, ThresholdCentered
from squat.models import build_network
from squat.train import evaluate
from squat.train.losses import loss_of
from synthetic import run_config, spike_split


def test_evaluate_reports_and_leaves_the_network_alone() -> None:
    network = build_network(run_config(network={"states": ThresholdCentered(4), "weights": IntWeight(4)}).network, 0)
    split = spike_split(20, seed=7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    small, large = (evaluate(network, split, batch_size=size) for size in (3, 20))
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert small.predictions == large.predictions
    assert small.accuracy == large.accuracy
    assert small.loss == pytest.approx(large.loss)
    assert 0.0 < small.spike_rates["0 RLIF"] < 1.0
    assert json.loads(json.dumps(small.to_json()))["predictions"] == small.predictions
    correct = sum(int(p) == int(label) for p, label in zip(small.predictions, split.labels, strict=True))
    assert small.accuracy == correct / 20


def test_evaluate_refuses() -> None:
    network, split = build_network(run_config().network, 0), spike_split(3, 0)
    with pytest.raises(TypeError, match=r"network=.*: expected a squat Network; squat.load gives one"):
        evaluate(torch.nn.Linear(2, 2), split)
    with pytest.raises(ValueError, match="split: expected at least one sample, got none"):
        evaluate(network, split.take(torch.arange(0)))
    with pytest.raises(ValueError, match="batch_size=0: expected an integer from 1 to 2147483647"):
        evaluate(network, split, 0)


def test_evaluate_refuses_a_network_that_is_not_finite() -> None:
    network = build_network(run_config().network, 0)
    torch.nn.init.constant_(network.layers.layers[1].weight, float("inf"))
    with pytest.raises(ValueError, match="loss=nan: expected finite scores; the network's parameters are not finite"):
        evaluate(network, spike_split(3, 0))


def test_losses() -> None:
    scores, labels = torch.tensor([[8.0, 2.0], [5.0, 5.0]]), torch.tensor([0, 1])
    assert loss_of(scores, labels, 10, "count_mse").item() == pytest.approx((0.3**2 + 0.3**2) / 4)
    expected = torch.nn.functional.cross_entropy(scores * 0.5, labels)
    assert torch.equal(loss_of(scores, labels, 10, "cross_entropy", 0.5), expected)
    with pytest.raises(ValueError, match="loss='hinge': expected one of 'cross_entropy', 'count_mse'"):
        loss_of(scores, labels, 10, "hinge")
