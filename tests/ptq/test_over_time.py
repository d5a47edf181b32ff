"""States over time: exact at every step, whatever the batches, for every float state that a layer carries."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

import squat
from squat.ptq.observe import by_steps, observe
from squat.ptq.over_time import StateObservation


def test_statistics_of_every_step_are_those_of_the_values():
    values = torch.randn(7, 40, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 8.0)[:, None, None]
    seen = StateObservation(low=-2.0, high=1.5)
    for part in values.split(13, dim=1):
        seen.add(part)
    flat = values.flatten(1).double()
    assert torch.allclose(seen.mean, flat.mean(1), atol=1e-12)
    assert torch.allclose(seen.spread, flat.std(1, correction=0), atol=1e-9)
    assert torch.equal(seen.below, (flat < -2.0).double().mean(1))
    assert torch.equal(seen.above, (flat > 1.5).double().mean(1))
    assert seen.saturated == pytest.approx((float((flat < -2).double().mean()), float((flat > 1.5).double().mean())))
    assert seen.histogram.total == values.numel()


@pytest.mark.parametrize("lengths", [(3, 6), (6, 3)])
def test_sequences_of_different_length_count_as_long_as_they_last(lengths):
    seen = StateObservation()
    for steps in lengths:
        seen.add(torch.full((steps, 2, 1), float(steps)))
    assert seen.mean.tolist() == [4.5, 4.5, 4.5, 6.0, 6.0, 6.0]


def test_nan_is_refused():
    with pytest.raises(ValueError, match="values contain NaN or infinity"):
        StateObservation().add(torch.tensor([[[float("nan")]]]))


class _TwoStates(NamedTuple):
    u: torch.Tensor
    current: torch.Tensor
    codes: torch.Tensor | None
    fresh: bool


class _Cuba(torch.nn.Module):
    """A neuron with a synaptic current beside its membrane."""

    def forward(self, x: torch.Tensor, state: _TwoStates | None = None) -> tuple[torch.Tensor, _TwoStates]:
        u, current = (torch.zeros_like(x[0]),) * 2 if state is None else (state.u, state.current)
        current = 0.5 * current + x[0]
        u = 0.9 * u + current
        return (u > 1).float()[None], _TwoStates(u, current, torch.zeros(u.shape, dtype=torch.uint8), False)


def test_every_float_state_is_seen_by_its_name():
    out, states = by_steps(_Cuba(), torch.ones(3, 2, 4))
    assert set(states) == {"u", "current"}
    assert states["current"][:, 0, 0].tolist() == [1.0, 1.5, 1.75]
    assert out.shape == states["u"].shape == (3, 2, 4)


def test_the_start_of_a_sequence_differs_from_its_end():
    net = squat.Sequential(squat.LI(0.9))
    seen, _ = observe(net, [torch.ones(50, 2, 3)], membranes=True)
    course = seen["0"].states["u"].mean
    assert float(course[0]) == pytest.approx(1.0)
    assert float(course[-1]) == pytest.approx(10.0, rel=0.01)
    assert seen["0"].states["u"].histogram.total == 300
