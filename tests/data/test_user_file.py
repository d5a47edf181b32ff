"""The user's own file: both layouts from both formats, and every check by its text."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from squat.data import load
from squat.data.inputs import Frames, PackedSpikes, SignedSpikes

N = 20
LABEL = np.arange(N) % 2


def dense(**changes) -> dict:
    x = np.random.default_rng(0).integers(0, 2, (N, 5, 3)).astype(np.uint8)
    return {"x": x, "label": LABEL} | changes


def events(**changes) -> dict:
    """Every recording has the events (0 s, channel 0) and (0.025 s, channel 2)."""
    file = {
        "times": np.tile([0, 25], N),
        "units": np.tile([0, 2], N),
        "offsets": np.arange(N + 1) * 2,
        "time_unit_s": 1e-3,
        "label": LABEL,
    }
    return {name: value for name, value in (file | changes).items() if value is not None}


@pytest.fixture(params=[".npz", ".h5"])
def write(request, tmp_path):
    """Writes arrays to a file and gives its path."""

    def writer(arrays: dict):
        path = tmp_path / f"mine{request.param}"
        if request.param == ".npz":
            np.savez(path, **arrays)
        else:
            with h5py.File(path, "w") as file:
                for name, array in arrays.items():
                    file[name] = array
        return path

    return writer


def test_dense_binary_is_packed_and_comes_back(write):
    file = dense(split=np.arange(N) % 3)
    data = load(write(file))
    assert isinstance(data.train.inputs, PackedSpikes)
    for code, part in enumerate(data.parts.values()):
        x, y = part.batch(torch.arange(len(part)))
        assert np.array_equal(x.numpy(), file["x"][code::3].swapaxes(0, 1))
        assert y.tolist() == LABEL[code::3].tolist()
    assert (data.classes, data.input_max, data.input_scale, data.steps) == (2, 1, 1.0, 5)
    assert data.split_rule == "as the file says"


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_dense_integers_stay_integers(write, kind):
    x = np.random.default_rng(0).integers(0, 8, (N, 5, 2, 3, 4)).astype(kind)
    data = load(write(dense(x=x, input_scale=0.125)))
    assert isinstance(data.train.inputs, Frames)
    assert data.input_shape == (2, 3, 4)
    assert (data.input_max, data.input_scale) == (7, 0.125)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float32])
def test_signed_spikes_are_packed_and_come_back(write, kind):
    x = np.random.default_rng(0).integers(-1, 2, (N, 5, 4)).astype(kind)
    data = load(write(dense(x=x, split=np.zeros(N, int))))
    assert isinstance(data.train.inputs, SignedSpikes)
    assert (data.input_min, data.input_max, data.describe()["input_min"]) == (-1, 1, -1)
    assert np.array_equal(data.train.batch(torch.arange(N))[0], x.swapaxes(0, 1))


def test_signed_integers_stay_integers(write):
    x = np.random.default_rng(0).integers(-128, 128, (N, 5, 2, 3, 4), dtype=np.int8)
    x.flat[:2] = -128, 127
    data = load(write(dense(x=x, split=np.zeros(N, int))))
    assert isinstance(data.train.inputs, Frames)
    assert (data.input_min, data.input_max) == (-128, 127)
    assert np.array_equal(data.train.batch(torch.arange(N))[0], x.swapaxes(0, 1))
    assert load(write(dense(x=-np.ones((N, 5, 4))))).input_max == 1


def test_booleans_are_spikes(write):
    assert load(write(dense(x=np.ones((N, 4, 3), dtype=bool)))).input_max == 1


def test_events_are_binned(write):
    data = load(write(events(channels=5)), steps=3, bin_ms=10)
    x, _ = data.test.batch(torch.tensor([0]))
    assert x.squeeze(1).nonzero().tolist() == [[0, 0], [2, 2]]
    assert (data.input_shape, data.input_max) == ((5,), 1)


def test_events_past_the_last_step_are_told(write):
    path = write(events())
    with pytest.raises(ValueError, match=r"20 of 40 events \(50 %\) in 20 of 20 recordings .* more than 10% of the ev"):
        load(path, steps=2, bin_ms=10)
    data = load(path, steps=2, bin_ms=10, accept_loss=True)
    told = "20 of 40 events (50 %) in 20 of 20 recordings (100 %) past the last of 2 steps of 10 ms, and left out"
    assert data.notes == [told]
    assert data.input_shape == (3,)


def test_labels_from_1_leave_a_class_unused_and_that_is_said(write):
    data = load(write(dense(label=LABEL + 1)))
    assert data.classes == 3
    assert data.notes == [
        "no training sample of 1 of 3 classes (0): labels start at 1; number them from 0, or leave class 0 unused"
    ]
    assert load(write(dense(label=LABEL * 2))).notes == ["no training sample of 1 of 3 classes (1)"]
    assert load(write(dense())).notes == []


def test_times_may_be_seconds(write):
    data = load(write(events(times=np.tile(np.array([0, 0.025], dtype=np.float32), N), time_unit_s=1.0)))
    assert data.steps == 100
    assert data.test.batch(torch.tensor([0]))[0].squeeze(1).nonzero().tolist() == [[0, 0], [2, 2]]


def test_samples_are_dealt_by_class_where_the_file_does_not_say(write):
    data = load(write(dense(x=np.ones((N, 2, 2)))))
    assert [len(part) for part in data.parts.values()] == [14, 2, 4]
    assert [part.labels.sum().item() for part in data.parts.values()] == [7, 1, 2]
    assert data.split_rule.startswith("dealt by class")


def test_classes_may_be_more_than_the_labels(write):
    assert load(write(dense(classes=7))).classes == 7
    assert load(write(dense(label=LABEL * 999, classes=1000))).classes == 1000
    assert load(write(dense(label=np.zeros(N, dtype=int)))).classes == 2


BAD = {
    "nothing": ({"label": LABEL}, r"`x`: the file has label; expected either dense `x`, or events in `times`"),
    "both": (dense() | events(), r"`x`: the file has .*; expected either dense `x`, or events"),
    "x axes": (
        dense(x=np.ones(N)),
        r"`x`: dtype float64 and shape \(20,\); expected integers from 0 to 255, or .* in \[",
    ),
    "x text": (dense(x=np.full((N, 2, 2), b"a")), r"`x`: dtype .*; expected integers"),
    "x no steps": (dense(x=np.ones((N, 0, 3))), r"`x`: shape \(20, 0, 3\); expected .* no axis of length 0"),
    "x no samples": (dense(x=np.ones((0, 4, 3))), r"`x`: shape \(0, 4, 3\), no recording; expected at least one rec"),
    "no events' samples": (
        events(offsets=np.zeros(1, int)),
        r"`offsets`: 1 value, so no recording; expected at least one",
    ),
    "x NaN": (dense(x=np.full((N, 2, 2), np.nan)), r"`x`: has NaN or infinity; expected integers"),
    "x infinite": (dense(x=np.full((N, 2, 2), np.inf)), r"`x`: has NaN or infinity"),
    "x low": (dense(x=np.full((N, 2, 2), -129)), r"`x`: values from -129 to -129; expected .* or -128 to 127 where"),
    "x signed and large": (
        dense(x=np.tile([-1, 128], (N, 2, 1))),
        r"`x`: values from -1 to 128; expected integers from 0 to 255, or -128 to 127 where some are negative,",
    ),
    "x large": (dense(x=np.full((N, 2, 2), 256)), r"`x`: values from 256 to 256; expected integers from 0 to 255"),
    "x fractions": (dense(x=np.full((N, 2, 2), 0.5)), r"`x`: has values that are not whole; .* back as `input_scale`"),
    "label misnamed": (
        {"x": np.ones((N, 2, 2)), "labels": LABEL},
        r"`label`: missing, but the file has `labels`; expected labels under the name `label`",
    ),
    "split of unlabelled": ({"x": np.ones((N, 2, 2)), "split": LABEL[1:]}, r"`split`: 19 integers"),
    "label short": (dense(label=LABEL[:-1]), r"`label`: 19 values; expected 20 integers, the class of each sample"),
    "label float": (dense(label=LABEL + 0.5), r"`label`: dtype float64 and shape \(20,\); expected 20 integers"),
    "label axes": (dense(label=LABEL[:, None]), r"`label`: dtype int64 and shape \(20, 1\)"),
    "label negative": (dense(label=LABEL - 1), r"`label`: values from -1 to 0; expected 20 integers, .* from 0 on"),
    "label high": (
        dense(label=LABEL * 3, classes=3),
        r"`label`: 3, of sample 1; expected 0 to 2 \(`classes` - 1\)",
    ),
    "label huge": (
        dense(label=np.append(LABEL[1:], 2**62)),
        r"`label`: 4611686018427387904, of sample 19; expected small integers, .* which 20 samples do not suggest\)",
    ),
    "label that is a date": (dense(label=LABEL + 20240131), r"`label`: 20240132, of sample 1; .* \(number the classes"),
    "classes": (dense(classes=1), r"`classes`: 1; expected one integer >= 2"),
    "classes float": (dense(classes=2.0), r"`classes`: dtype float64 and shape \(\); expected one integer"),
    "split values": (dense(split=np.full(N, 3)), r"`split`: 20 integers with the values 3; expected 20 integers: 0 tr"),
    "split short": (dense(split=LABEL[1:]), r"`split`: 19 integers with the values 0, 1; expected 20 integers"),
    "input_scale": (dense(input_scale=0.0), r"`input_scale`: 0.0; expected one positive number"),
    "input_scale NaN": (dense(input_scale=np.nan), r"`input_scale`: has NaN or infinity"),
    "times missing": (events(times=None), r"`times`: missing; the file has .*; expected numbers in \[E\]"),
    "times NaN": (events(times=np.full(2 * N, np.nan)), r"`times`: has NaN or infinity"),
    "times negative": (events(times=np.full(2 * N, -1)), r"`times`: values from -1 to -1; expected 0 to below"),
    "times huge": (
        events(times=np.full(2 * N, 1e300)),
        r"`times`: values from 1e\+300 to 1e\+300; expected 0 to below",
    ),
    "units missing": (events(units=None), r"`units`: missing"),
    "units float": (events(units=np.ones(2 * N)), r"`units`: dtype float64 and shape \(40,\); expected integers"),
    "units short": (events(units=np.zeros(3, dtype=int)), r"`units`: 3 events; expected 40, as many as in `times`"),
    "units negative": (events(units=np.full(2 * N, -1)), r"`units`: values from -1 to -1; expected 0 to 0"),
    "units high": (events(channels=2), r"`units`: values from 0 to 2; expected 0 to 1 \(`channels` - 1\)"),
    "channels": (events(channels=0), r"`channels`: 0; expected one integer >= 1"),
    "offsets missing": (events(offsets=None), r"`offsets`: missing"),
    "offsets end": (events(offsets=np.arange(N + 1)), r"`offsets`: 21 values from 0 to 20; expected .* end at 40"),
    "offsets start": (events(offsets=np.arange(N + 1) * 2 + 1), r"`offsets`: 21 values from 1 to 41"),
    "offsets fall": (events(offsets=np.array([0, 30, 20, 40])), r"`offsets`: 4 values from 0 to 40; .* never fall"),
    "offsets empty": (events(offsets=np.array([], dtype=int)), r"`offsets`: 0 values; expected"),
    "time_unit_s missing": (
        events(time_unit_s=None),
        r"`time_unit_s`: missing; expected one positive number, the seconds",
    ),
    "time_unit_s": (events(time_unit_s=-1.0), r"`time_unit_s`: -1.0; expected one positive number"),
    "time_unit_s axes": (events(time_unit_s=np.ones(1)), r"`time_unit_s`: dtype float64 and shape \(1,\)"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused(tmp_path, arrays, message):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"mine.npz: {message}.*docs/how-to/your-data.md describes the layout"):
        load(path)


def test_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "your-data.md"
    dense_example, events_example, stream_example = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(dense_example, str(guide), "exec"), names)
    assert (names["mine"].classes, names["mine"].input_scale) == (4, 1 / 255)
    exec(compile(events_example, str(guide), "exec"), names)
    assert names["x"].shape == (50, 8, 64)
    exec(compile(stream_example, str(guide), "exec"), names)
    assert torch.equal(names["mine"].train.batch(torch.arange(8))[0], names["x"])


def test_binning_options_are_for_events(write):
    with pytest.raises(ValueError, match="`x`: dense, with the option `bin_ms`; expected events in `times`"):
        load(write(dense()), bin_ms=10.0)
    with pytest.raises(ValueError, match="`units`: events, with the option `layout`; expected dense images, `x`"):
        load(write(events()), layout="flat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, r"steps=0: expected an integer from 1 to 1000000"),
        ({"bin_ms": 0.0}, r"bin_ms=0.0: expected a finite number > 0"),
    ],
)
def test_bad_options_are_refused(write, options, message):
    with pytest.raises(ValueError, match=message):
        load(write(events()), **options)


@pytest.mark.parametrize(
    ("arrays", "sizes", "rule"),
    [
        ({"label": LABEL}, (14, 2, 4), "dealt by class"),
        ({}, (0, 0, 20), "all samples are the test part, without labels"),
        ({"split": np.repeat([0, 2], 10)}, (10, 0, 10), "as the file says"),
    ],
)
def test_labels_and_split_may_be_left_out(tmp_path, arrays, sizes, rule):
    path = tmp_path / "mine.npz"
    x = (np.arange(N)[:, None, None] // np.array([1, 2, 4, 8, 16])[:, None] % 2) * np.ones((1, 1, 3))
    np.savez(path, x=x, **arrays)
    mine = load(path)
    assert tuple(len(part) for part in mine.parts.values()) == sizes
    assert mine.split_rule.startswith(rule)
    assert mine.labelled == ("label" in arrays)
    whole = load(path, whole=True)
    assert (len(whole.train), len(whole.validation), whole.test.index.tolist()) == (0, 0, list(range(N)))
    for part in filter(len, mine.parts.values()):
        found = part.batch(torch.arange(len(part)))[0]
        assert torch.equal(found, torch.from_numpy(x[part.index.numpy()]).float().transpose(0, 1))


def test_fewer_than_ten_samples_are_the_test_part(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.ones((4, 2, 2)), label=LABEL[:4], classes=5)
    mine = load(path)
    assert (len(mine.train), len(mine.test), mine.classes) == (0, 4, 5)
    with pytest.raises(ValueError, match=r"no sample in the train part; .* with labels, ten or more, are dealt"):
        mine.require("train")
    np.savez(path, x=np.ones((4, 2, 2)))
    mine = load(path)
    assert (mine.classes, mine.test.labels.tolist()) == (0, [-1] * 4)
    assert mine.notes == ["no labels, so there are predictions and no accuracy"]
    with pytest.raises(ValueError, match=r"mine.npz: no labels; add `label`, the class of each sample"):
        mine.require_labels()
