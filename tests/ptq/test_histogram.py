import pytest
import torch

from squat.ptq.histogram import StreamingHistogram


def test_total_and_range_do_not_depend_on_how_the_stream_is_cut():
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.01, 8, 5000)
    whole, parts = StreamingHistogram(), StreamingHistogram()
    whole.add(values)
    for part in values.split(37):
        parts.add(part)
    assert (whole.low, whole.high, whole.reach) == (parts.low, parts.high, parts.reach)
    assert torch.equal(whole.counts, parts.counts)
    assert whole.total == 5000


def test_shares_are_right_to_within_a_bin():
    values = torch.linspace(-3, 2, 100_001)
    histogram = StreamingHistogram()
    histogram.add(values)
    assert histogram.share_below(-1.0) == pytest.approx(float((values < -1).double().mean()), abs=1e-3)
    assert histogram.share_above(1.5) == pytest.approx(float((values > 1.5).double().mean()), abs=1e-3)
    assert histogram.share_above(2.0) == 0.0


def test_the_ends_of_the_range_are_counted():
    histogram = StreamingHistogram(bins=4)
    histogram.add(torch.tensor([-2.0, 2.0, 0.0]))
    assert histogram.reach == 2.0
    assert histogram.counts.tolist() == [1, 0, 1, 1]


def test_an_empty_histogram_has_no_shares():
    histogram = StreamingHistogram()
    histogram.add(torch.empty(0))
    assert histogram.total == 0
    assert histogram.share_above(0.0) == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused(bad):
    with pytest.raises(ValueError, match="values contain NaN or infinity: expected finite values"):
        StreamingHistogram().add(torch.tensor([0.0, bad]))


def test_bins_are_checked():
    with pytest.raises(ValueError, match="bins=6: expected a multiple of 4"):
        StreamingHistogram(bins=6)
    with pytest.raises(TypeError, match=r"bins=8\.0: expected an integer >= 4"):
        StreamingHistogram(bins=8.0)
