import pytest
import torch

from squat.data.dataset import Split
from squat.data.inputs import pack_spikes
from squat.ptq.batches import CalibrationBatches


def _split(samples: int) -> Split:
    inputs = torch.zeros(samples, 4, samples)
    inputs[torch.arange(samples), :, torch.arange(samples)] = 1.0
    return Split(pack_spikes(inputs), torch.zeros(samples, dtype=torch.int64))


def _samples_seen(data: object, batches: int, batch_size: int) -> list[int]:
    return [int(index) for x in CalibrationBatches(data, batches, batch_size) for index in x[0].argmax(1)]


def test_a_split_is_sampled_evenly_and_every_walk_is_the_same():
    walk = CalibrationBatches(_split(100), batches=2, batch_size=3)
    assert _samples_seen(_split(100), 2, 3) == [0, 20, 40, 59, 79, 99]
    assert all(torch.equal(a, b) for a, b in zip(walk, walk, strict=True))


def test_a_small_split_is_taken_whole():
    assert _samples_seen(_split(5), 8, 2) == [0, 1, 2, 3, 4]


def test_an_iterator_is_cut_and_can_be_walked_twice():
    walk = CalibrationBatches((torch.full((2, 1, 3), float(i)) for i in range(100)), batches=3, batch_size=1)
    assert [float(x[0, 0, 0]) for x in walk] == [float(x[0, 0, 0]) for x in walk] == [0.0, 1.0, 2.0]


def test_labels_are_left_out_and_bytes_are_widened():
    (x,) = CalibrationBatches([(torch.ones(2, 1, 3, dtype=torch.uint8), torch.tensor([4]))], 1, 1)
    assert x.dtype == torch.float32


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ([], ValueError, "data is empty: expected at least one batch"),
        (torch.zeros(5, 2, 3), TypeError, "data is a Tensor: expected a Dataset, a Split or an iterable of batches"),
        (7, TypeError, "data is a int: expected a Dataset"),
        ([torch.zeros(5, 2)], ValueError, r"batch 0 of data has shape \(5, 2\): expected \[T, B, ...\]"),
        ([torch.zeros(0, 2, 3)], ValueError, "expected .* with at least one step and sample"),
        ([torch.zeros(5, 0, 3)], ValueError, "expected .* with at least one step and sample"),
        ([torch.zeros(5, 2, 3, dtype=torch.int64)], TypeError, "dtype torch.int64: expected a float dtype or uint8"),
        ([torch.full((5, 2, 3), float("nan"))], ValueError, "batch 0 of data contains NaN or infinity"),
        (["text"], TypeError, "batch 0 of data is a str"),
    ],
)
def test_bad_data_is_refused(data, error, text):
    with pytest.raises(error, match=text):
        list(CalibrationBatches(data, 8, 64))


def test_counts_are_checked():
    with pytest.raises(ValueError, match="batches=0: expected an integer >= 1"):
        CalibrationBatches([torch.zeros(1, 1, 1)], 0, 1)
    with pytest.raises(ValueError, match="batch_size=0: expected an integer >= 1"):
        CalibrationBatches([torch.zeros(1, 1, 1)], 1, 0)
