"""The same inputs give the same bits: run to run, and for any number of threads."""

from __future__ import annotations

import pytest
import torch

import squat


def training_step(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        neuron = squat.RLIF(
            40, 33, 0.9, weight=squat.IntWeight(4), state=squat.ThresholdCentered(4), learn_beta="clamp"
        )
        x = (torch.rand(40, 16, 40) < 0.2).float()  # enough work for several threads
        spikes, state = neuron(x)
        (spikes.sum() + state.u.square().sum()).backward()
        return [spikes.detach(), state.u.detach(), *(p.grad.clone() for p in neuron.parameters())]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_again(threads):
    expected = training_step(1)
    for _ in range(2):
        for ours, theirs in zip(training_step(threads), expected, strict=True):
            scale = float(theirs.abs().max())
            if threads == 1:
                assert torch.equal(ours, theirs)
            else:  # the matrix products of torch itself may add in another order
                assert float((ours - theirs).abs().max()) <= 1e-5 * scale
        assert all(torch.equal(a, b) for a, b in zip(training_step(threads), training_step(threads), strict=True))
