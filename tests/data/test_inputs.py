"""The memory layouts against plain indexing of the unpacked frames, at odd sizes."""

import pytest
import torch

from squat.data.inputs import Constant, Frames, PackedSpikes, pack_signs, pack_spikes


def random_frames(*shape: int, high: int = 2) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(1,), (7,), (140,), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("steps", [1, 7, 8, 9, 100])
def test_packed_spikes_unpack_to_the_frames(steps, shape):
    frames = random_frames(6, steps, *shape)
    packed = pack_spikes(frames)
    chosen = torch.tensor([5, 0, 0, 3])
    x = packed.gather(chosen)
    assert torch.equal(x, frames[chosen].transpose(0, 1).float())
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert (len(packed), packed.steps, packed.shape) == (6, steps, shape)
    assert packed.density() == pytest.approx(frames.float().mean().item())


@pytest.mark.parametrize("shape", [(7,), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("steps", [1, 8, 13])
def test_signed_spikes_unpack_to_the_frames(steps, shape):
    frames = random_frames(6, steps, *shape, high=3).to(torch.int8) - 1
    packed, chosen = pack_signs(frames), torch.tensor([5, 0, 0, 3])
    x = packed.gather(chosen)
    assert torch.equal(x, frames[chosen].transpose(0, 1).float())
    assert x.is_contiguous()
    assert torch.equal(packed.take(chosen).gather(torch.arange(4)), x)
    assert (len(packed), packed.steps, packed.shape) == (6, steps, shape)
    assert packed.nbytes == 2 * pack_spikes(frames).nbytes
    assert packed.density() == pytest.approx((frames != 0).float().mean().item())


@pytest.mark.parametrize("steps", [1, 8, 13])
def test_packed_spikes_cut_early_equal_the_frames_cut_early(steps):
    frames = random_frames(4, 20, 3)
    early = pack_spikes(frames).first(steps)
    assert torch.equal(early.values, pack_spikes(frames[:, :steps]).values)
    assert early.steps == steps


@pytest.mark.parametrize("shape", [(5,), (2, 3, 5)], ids=str)
def test_frames_come_time_first_and_contiguous(shape):
    frames = random_frames(4, 9, *shape, high=256)
    inputs = Frames(frames, 9)
    x = inputs.gather(torch.tensor([2, 1]))
    assert torch.equal(x, frames[[2, 1]].transpose(0, 1).float())
    assert x.is_contiguous()
    assert inputs.shape == shape
    assert inputs.density() == pytest.approx((frames > 0).float().mean().item())


def test_a_constant_input_is_not_copied_over_time():
    images = random_frames(4, 1, 3, 3, high=256)
    inputs = Constant(images, 25)
    x = inputs.gather(torch.tensor([3, 0]))
    assert x.shape == (25, 2, 1, 3, 3)
    assert x.stride(0) == 0
    assert all(torch.equal(step, images[[3, 0]].float()) for step in x)
    assert inputs.shape == (1, 3, 3)


@pytest.mark.parametrize(
    "inputs",
    [Constant(random_frames(5, 3), 4), Frames(random_frames(5, 4, 3), 4), pack_spikes(random_frames(5, 4, 3))],
    ids=lambda inputs: type(inputs).__name__,
)
def test_taken_samples_are_copies_in_the_given_order(inputs):
    few = inputs.take(torch.tensor([4, 1]))
    before = few.gather(torch.tensor([0, 1]))
    assert torch.equal(before, inputs.gather(torch.tensor([4, 1])))
    inputs.values.zero_()
    assert torch.equal(few.gather(torch.tensor([0, 1])), before)
    assert (type(few), len(few), few.steps) == (type(inputs), 2, 4)


def test_no_samples_have_density_zero():
    empty = torch.tensor([], dtype=torch.int64)
    assert Frames(random_frames(2, 4, 3), 4).take(empty).density() == 0
    assert PackedSpikes(random_frames(2, 1, 3), 4).take(empty).density() == 0
