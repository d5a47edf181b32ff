"""Augmentation: what moves, what is kept, and that each kind has a stream of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from squat.train import AugmentConfig
from squat.train.augment import Place, augment, drop_events, jitter, shift

PLACE = Place(seed=3, epoch=1, step=4)


def spikes(*shape: int, density: float = 0.1) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < density).float()


def test_channel_shift_moves_all_channels_of_a_sample_alike() -> None:
    x = spikes(12, 9, 14)
    moved = augment(x, AugmentConfig(channel_shift=3), PLACE)
    offsets = torch.randint(-3, 4, (9,), generator=PLACE.generator(1))
    for sample, offset in enumerate(offsets.tolist()):
        expected = torch.roll(x[:, sample], offset, -1)
        expected[:, :offset] = 0 if offset > 0 else expected[:, :offset]
        if offset < 0:
            expected[:, offset:] = 0
        assert torch.equal(moved[:, sample], expected)
    assert len(set(offsets.tolist())) > 3


@pytest.mark.parametrize("offset", [-20, -3, 0, 3, 20])
@pytest.mark.parametrize("axis", [0, -1])
def test_shift_loses_only_what_leaves(axis: int, offset: int) -> None:
    x = spikes(10, 1, 7) + 1.0
    size = x.shape[axis]
    moved = shift(x, axis, torch.tensor([offset]))
    assert int((moved != 0).sum()) == x.numel() * max(size - abs(offset), 0) // size
    if abs(offset) < size:
        back = shift(moved, axis, torch.tensor([-offset]))
        assert torch.equal(back[back != 0], x[back != 0])


def test_images_shift_along_both_axes() -> None:
    x = torch.zeros(2, 40, 1, 9, 9)
    x[:, :, :, 4, 4] = 1.0
    moved = augment(x, AugmentConfig(channel_shift=2), PLACE)
    assert moved.sum() == x.sum()
    rows, columns = moved.sum((0, 1, 2, 4)) > 0, moved.sum((0, 1, 2, 3)) > 0
    assert rows.nonzero().flatten().tolist() == columns.nonzero().flatten().tolist() == [2, 3, 4, 5, 6]


def test_time_jitter_keeps_channels_and_reach() -> None:
    x = torch.zeros(21, 3, 50)
    x[10] = 1.0
    moved = jitter(x, 2, torch.Generator().manual_seed(0))
    assert torch.equal(moved.sum(0), x.sum(0))
    assert moved.sum((1, 2)).nonzero().flatten().tolist() == [8, 9, 10, 11, 12]


def test_events_that_meet_keep_the_largest_value() -> None:
    x = torch.tensor([2.0, 5.0, 3.0]).view(3, 1, 1).expand(3, 1, 400).contiguous()
    moved = jitter(x, 1, torch.Generator().manual_seed(0))
    assert set(moved.unique().tolist()) <= {0.0, 2.0, 3.0, 5.0}


def test_event_drop_removes_the_given_share_and_nothing_else() -> None:
    x = spikes(50, 20, 100)
    kept = drop_events(x, 0.25, torch.Generator().manual_seed(0))
    assert abs(float(kept.sum() / x.sum()) - 0.75) < 0.02
    assert bool((kept <= x).all())


def test_flip_turns_some_samples_round_and_leaves_the_others() -> None:
    x = spikes(6, 40, 9)
    moved = augment(x, AugmentConfig(flip=True), PLACE)
    turned = [bool(torch.equal(moved[:, sample], x[:, sample].flip(-1))) for sample in range(40)]
    assert 8 < sum(turned) < 32
    assert all(torch.equal(moved[:, n], x[:, n]) for n, flipped in enumerate(turned) if not flipped)


def test_time_warp_multiplies_times() -> None:
    x = torch.zeros(40, 60, 2)
    x[20] = 1.0
    moved = augment(x, AugmentConfig(time_warp=0.5), PLACE)
    assert torch.equal(moved.sum(0), x.sum(0))
    steps = moved[:, :, 0].argmax(0)
    factors = 1 + 0.5 * (2 * torch.rand(60, generator=PLACE.generator(6), dtype=torch.float64) - 1)
    assert torch.equal(steps, (20.5 * factors).long())
    assert int(steps.min()) < 15
    assert int(steps.max()) > 25
    x[20], x[39] = 0.0, 1.0
    lost = augment(x, AugmentConfig(time_warp=0.5), PLACE).sum((0, 2)) == 0
    assert torch.equal(lost, 39.5 * factors >= 40)


def test_streams_are_independent_and_repeatable() -> None:
    x = spikes(20, 8, 30)
    original = x.clone()
    both = augment(x, AugmentConfig(channel_shift=2, event_drop=0.2), PLACE)
    shifted = augment(x, AugmentConfig(channel_shift=2), PLACE)
    assert bool((both <= shifted).all())
    config = AugmentConfig(channel_shift=2, event_drop=0.2)
    assert torch.equal(both, augment(x, config, PLACE))
    for change in ({"seed": 4}, {"epoch": 2}, {"step": 5}, {"rank": 1}):
        assert not torch.equal(both, augment(x, config, replace(PLACE, **change)))
    assert torch.equal(x, original)


def test_inactive_is_free_and_constant_input_is_refused() -> None:
    x = spikes(1, 2, 3).expand(5, 2, 3)
    assert augment(x, AugmentConfig(), PLACE) is x
    with pytest.raises(ValueError, match="augment: expected spike data, got a batch that is constant over time"):
        augment(x, AugmentConfig(time_jitter=1), PLACE)
