"""SHD, SSC, N-MNIST, CIFAR10-DVS and DVS128 Gesture from small files in the true formats, and what each refuses."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import sys
import threading
import zipfile

import h5py
import numpy as np
import pytest
import torch

from event_formats import (
    AEDAT3_HEADER,
    CIFAR10,
    aedat2,
    atis,
    packet,
    spoken,
    write_by_class,
    write_gestures,
    write_heidelberg,
    write_shd,
)
from squat.data import cifar10_dvs, converted, dvs_gesture, heidelberg, load
from squat.data.aer import read_aedat2, read_aedat3, read_atis
from squat.data.sources import Original

DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="session")
def shd_folder(tmp_path_factory):
    return write_shd(tmp_path_factory.mktemp("shd"), 100)


def test_shd_is_binned_as_its_file_says(shd_folder):
    data = load("shd", folder=str(shd_folder), channels=140, steps=50, bin_ms=20)
    assert {name: len(part) for name, part in data.parts.items()} == {"train": 90, "validation": 10, "test": 20}
    assert (data.classes, data.input_shape, data.steps, data.train.streamed) == (20, (140,), 50, True)
    times, units, labels = spoken(20, 20, seed=1)
    x, y = data.test.batch(torch.arange(20))
    assert y.tolist() == labels.tolist()
    for sample in range(20):
        frame = np.zeros((50, 140), np.float32)
        microseconds = np.rint(times[sample].astype(float) * 1e6).astype(int)
        kept = microseconds < 1_000_000
        frame[microseconds[kept] // 20_000, units[sample][kept] // 5] = 1
        assert np.array_equal(x[:, sample].numpy(), frame)


def test_validation_is_taken_from_training_and_never_changes(shd_folder):
    data = load("shd", folder=str(shd_folder))
    rows = data.validation.inputs.samples.tolist()
    assert rows == VALIDATION_ROWS
    assert sorted(rows + data.train.inputs.samples.tolist()) == list(range(100))
    assert data.test.inputs.samples.tolist() == list(range(100, 120))


VALIDATION_ROWS = [0, 8, 34, 38, 42, 50, 64, 76, 86, 92]
"""Published splits must never change: these numbers may not be edited."""


def test_ssc_has_its_own_validation_file(tmp_path):
    for part, samples in (("train", 70), ("valid", 35), ("test", 35)):
        write_heidelberg(tmp_path / f"ssc_{part}.h5", *spoken(samples, 35))
    data = load("ssc", folder=str(tmp_path))
    assert [len(part) for part in data.parts.values()] == [70, 35, 35]
    assert (data.classes, data.input_shape) == (35, (700,))
    assert data.validation.labels.tolist() == list(range(35))


def test_files_are_converted_once_and_anew_when_they_change(shd_folder, tmp_path, cache, monkeypatch):
    folder = write_shd(tmp_path / "own", 40)
    first = load("shd", folder=str(folder)).describe()
    (stored,) = (cache / "converted").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(converted, "atomic_path", None)  # nothing is written
        assert load("shd", folder=str(folder)).describe() == first
    with h5py.File(stored) as file:
        assert set(file) == {"times", "units", "offsets", "label", "split", "time_unit_s", "channels"}
    write_heidelberg(folder / "shd_train.h5", *spoken(60, 20, seed=5))
    assert len(load("shd", folder=str(folder)).train) == 54
    assert len(list((cache / "converted").iterdir())) == 2


def test_files_are_converted_anew_when_the_code_that_reads_them_changes(shd_folder, monkeypatch):
    load("shd", folder=str(shd_folder))
    read = heidelberg.read_heidelberg
    monkeypatch.setattr(heidelberg, "read_heidelberg", lambda *about: (row._replace(label=1) for row in read(*about)))
    assert load("shd", folder=str(shd_folder)).train.labels.unique().tolist() == [1]


def test_a_watched_conversion_counts(shd_folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert len(load("shd", folder=str(shd_folder)).test) == 20
    assert f"reading {shd_folder.name} once" in sys.stderr.getvalue()


def damaged_shd(folder, change):
    """A folder whose training file was changed: `change(times, units, labels)` gives the three anew, or bytes."""
    write_shd(folder, 40)
    content = change(*spoken(40, 20))
    if isinstance(content, bytes):
        (folder / "shd_train.h5").write_bytes(content)
    else:
        write_heidelberg(folder / "shd_train.h5", *content)
    return folder


def with_sample(values: list, sample: int, change) -> list:
    return [change(one.copy()) if number == sample else one for number, one in enumerate(values)]


def put(at: int, value: float):
    def change(array):
        array[at] = value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, u, y: b"no HDF5", r"truncated, damaged, or not an HDF5 file"),
        (lambda t, u, y: (t, u, None), r"`labels` is missing; expected one entry a sample; copy it again"),
        (
            lambda t, u, y: (t, u, y[:-1]),
            r"40 lists in spikes/times, 40 in spikes/units and 39 labels; expected as many",
        ),
        (lambda t, u, y: (t, u, y + 1), r"`labels` from 1 to 20; expected 0 to 19"),
        (lambda t, u, y: (t, u, y * 0.5), r"`labels` of dtype float64; expected integers from 0 to 19"),
        (lambda t, u, y: (t, u, y[:, None]), r"`labels` is of shape \(40, 1\); expected one entry a sample"),
        (lambda t, u, y: ([], [], y[:0]), r"`labels` of no sample; expected 0 to 19"),
        (
            lambda t, u, y: (t, with_sample(u, 7, put(3, 700)), y),
            r"units from \d+ to 700 in sample 7; expected 0 to 699",
        ),
        (lambda t, u, y: (with_sample(t, 7, put(3, np.nan)), u, y), r"times have NaN or infinity in sample 7"),
        (lambda t, u, y: (with_sample(t, 7, put(0, -1)), u, y), r"times from -1 to \d+ us in sample 7, expected 0 to"),
        (
            lambda t, u, y: (with_sample(t, 7, put(0, 9)), u, y),
            r"times are not sorted in sample 7: event 1 at \d+ us follows one at 9000000 us",
        ),
        (
            lambda t, u, y: (t, with_sample(u, 7, lambda one: one[:-1]), y),
            r"\(\d+,\) times of float16 and \(\d+,\) units of uint16 in sample 7; expected as many",
        ),
    ],
)
def test_bad_shd_files_are_refused_in_a_line(tmp_path, cache, change, message):
    folder = damaged_shd(tmp_path / "shd", change)
    with pytest.raises(ValueError, match=message) as caught:
        load("shd", folder=str(folder))
    assert str(caught.value).startswith(f"{folder / 'shd_train.h5'}: ")
    assert "\n" not in str(caught.value)
    assert list((cache / "converted").iterdir()) == []


def test_a_truncated_shd_file_is_refused(tmp_path):
    folder = damaged_shd(tmp_path, lambda t, u, y: (t, u, y))
    whole = (folder / "shd_train.h5").read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        (folder / "shd_train.h5").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"shd_train.h5: truncated, damaged, or not an HDF5 file"):
            load("shd", folder=str(folder))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("shd", {"channels": 139}, r"channels=139: expected a divisor of 700"),
        ("ssc", {"bin_ms": 0}, r"bin_ms=0: expected a finite number > 0"),
        ("shd", {"steps": 0}, r"steps=0: expected an integer from 1 to 1000000"),
        ("nmnist", {"height": 16}, r"height=16: expected a divisor of 34, the pixels of the camera"),
        ("dvs_gesture", {"layout": "chw"}, r"layout='chw': expected one of 'flat', 'image'"),
        ("cifar10_dvs", {"steps": 0}, r"steps=0: expected an integer from 1 to 1000000"),
        ("shd", {"folder": "nowhere"}, r"folder='nowhere': no nowhere.shd_train.h5; name the folder that holds the fi"),
        ("nmnist", {}, r"Train: not found \(looked at .*nmnist.Train.*\) and it has no public address; put it at"),
        ("dvs_gesture", {}, r"trials_to_train.txt: not found .* put it at .*dvs_gesture.trials_to_train.txt, or at"),
    ],
)
def test_bad_options_and_missing_files_are_refused(no_data, name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, **options)


# x, y, p and t of two events, the second after the clock of the camera has run over once.
ATIS_EVENTS = [(5, 33, 2, 1), (8_000, 0, 240, 0), (100, 4, 33, 0)]


def test_nmnist_files_are_binned(tmp_path):
    folder = tmp_path / "N-MNIST"
    write_by_class(folder / "Train", DIGITS, atis(ATIS_EVENTS), 12, ".bin")
    write_by_class(folder / "Test", DIGITS, atis(ATIS_EVENTS[:1]), 2, ".bin")
    data = load("nmnist", folder=str(folder), layout="image", height=17, steps=4, bin_ms=4)
    assert [len(part) for part in data.parts.values()] == [110, 10, 20]
    assert data.validation.labels.tolist() == list(range(10))
    x, y = data.train.batch(torch.tensor([30]))
    assert x.squeeze(1).nonzero().tolist() == [[0, 1, 1, 16], [2, 0, 16, 2]]
    assert y.tolist() == [2]
    flat, _ = load("nmnist", folder=str(folder), height=17, steps=4, bin_ms=4).train.batch(torch.tensor([30]))
    assert torch.equal(flat, x.flatten(2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (atis(ATIS_EVENTS)[:-1], r"bad.bin: truncated: 14 bytes, expected a multiple of 5; copy it again"),
        (atis([(0, 34, 0, 0)]), r"bad.bin: x from 34 to 34, expected 0 to 33"),
        (atis([(0, 0, 0, 0), (1, 0, 60, 0)]), r"bad.bin: y from 0 to 60, expected 0 to 33"),
        (atis([(7, 0, 0, 0), (6, 0, 0, 0)]), r"bad.bin: times are not sorted: event 1 at 6 us follows one at 7 us"),
    ],
)
def test_bad_atis_files_are_refused(tmp_path, content, message):
    (tmp_path / "bad.bin").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_atis(tmp_path / "bad.bin", 34)


def test_an_unreadable_file_and_missing_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"gone.bin: cannot be read \(No such file or directory\)"):
        read_atis(tmp_path / "gone.bin", 34)
    for part in ("Train", "Test"):
        write_by_class(tmp_path / part, DIGITS[:9], atis(ATIS_EVENTS), 1, ".bin")
    with pytest.raises(ValueError, match=r"Train.9: no such folder; the data set has one folder per class"):
        load("nmnist", folder=str(tmp_path))
    (tmp_path / "Train" / "9").mkdir()
    with pytest.raises(ValueError, match=r"Train.9: no \*.bin file; the data set has one folder per class"):
        load("nmnist", folder=str(tmp_path))


def address(x: int, y: int, p: int) -> int:
    return (127 - x) << 8 | (127 - y) << 1 | (1 - p)


# The second is a special event (bit 15), which is none of a pixel.
AEDAT2_EVENTS = [(1000, address(3, 120, 1)), (1500, 1 << 15), (61_999, address(127, 0, 0))]


def test_cifar10_dvs_is_binned_from_its_first_event_on(tmp_path):
    write_by_class(tmp_path / "set", list(CIFAR10), aedat2(AEDAT2_EVENTS), 10, ".aedat")
    data = load("cifar10_dvs", folder=str(tmp_path / "set"), height=128, steps=2, bin_ms=60)
    assert tuple(cifar10_dvs.ARCHIVES) == CIFAR10
    assert [len(part) for part in data.parts.values()] == [80, 10, 10]
    for part in data.parts.values():
        assert len(part.labels.unique()) == 10
    x, _ = data.test.batch(torch.tensor([3]))
    assert x.squeeze(1).nonzero().tolist() == [[0, 1, 120, 3], [1, 0, 0, 127]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"bad.aedat: begins with b'', expected #!AER-DAT2.0"),
        (AEDAT3_HEADER, r"bad.aedat: begins with b'#!AER-DAT3.1.*', expected #!AER-DAT2.0, the mark of AEDAT 2.0"),
        (aedat2(AEDAT2_EVENTS)[:-3], r"bad.aedat: truncated: 21 bytes of events, expected a multiple of 8"),
        (aedat2([(0, 1 << 16)]), r"bad.aedat: address 0x10000; expected 16 bits, as a DVS128 has"),
        (aedat2([(9, 0), (8, 0)]), r"bad.aedat: times are not sorted: event 1 at 8 us follows one at 9 us"),
    ],
)
def test_bad_aedat2_files_are_refused(tmp_path, content, message):
    (tmp_path / "bad.aedat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_aedat2(tmp_path / "bad.aedat")


def test_an_aedat2_file_may_hold_no_event(tmp_path):
    for name, content in (("header", aedat2([])), ("cut", b"#!AER-DAT2.0")):
        (tmp_path / name).write_bytes(content)
        assert len(read_aedat2(tmp_path / name).t) == 0


# t, x, y, p, valid: one before the first gesture, two in it, one that is not valid, one in the second.
AEDAT3_EVENTS = [
    (90, 1, 1, 1, 1),
    (100, 5, 127, 1, 1),
    (30_099, 64, 4, 0, 1),
    (30_100, 9, 9, 1, 0),
    (50_000, 0, 0, 0, 1),
]
GESTURES = ["1,100,40000", "11,40000,60000"]


def test_gestures_are_cut_out_where_their_labels_say(tmp_path):
    folder = write_gestures(tmp_path / "DvsGesture", AEDAT3_EVENTS, GESTURES)
    data = load("dvs_gesture", folder=str(folder), steps=3, bin_ms=15)
    assert [len(part) for part in data.parts.values()] == [4, 2, 2]
    assert data.test.labels.tolist() == [0, 10]
    x, _ = data.test.batch(torch.tensor([0, 1]))
    assert x[:, 0].nonzero().tolist() == [[0, 1, 31, 1], [1, 0, 1, 16]]
    assert x[:, 1].nonzero().tolist() == [[0, 0, 0, 0]]


def test_validation_gestures_are_of_other_people():
    people = torch.arange(24).repeat(3)
    held = dvs_gesture.people_held_out(people, people)
    assert sorted(set(people[held].tolist())) == HELD_OUT_PEOPLE
    assert int(held.sum()) == 12
    assert dvs_gesture.people_held_out(people[:1], people[:1]).tolist() == [False]


HELD_OUT_PEOPLE = [3, 9, 11, 22]
"""Published splits must never change: these numbers may not be edited."""


def test_packets_of_other_types_are_skipped_and_overflows_counted(tmp_path):
    other = packet([(0, 0, 0, 0, 0)] * 3, kind=2, size=8)
    late = packet([(7, 2, 3, 1, 1)], overflow=1)
    (tmp_path / "two.aedat").write_bytes(AEDAT3_HEADER + packet([(5, 1, 2, 0, 1)]) + other + late)
    events = read_aedat3(tmp_path / "two.aedat")
    assert [values.tolist() for values in events] == [[5, 2**31 + 7], [1, 2], [2, 3], [0, 1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (aedat2([]), r"bad.aedat: begins with b'#!AER-DAT2.0.*', expected #!AER-DAT3.1, the mark of AEDAT 3.1"),
        (AEDAT3_HEADER[:40], r"bad.aedat: truncated: its text header has no end"),
        (AEDAT3_HEADER + packet(AEDAT3_EVENTS)[:20], r"truncated: the packet header at byte \d+ is cut short"),
        (AEDAT3_HEADER + packet(AEDAT3_EVENTS)[:-1], r"truncated: the packet at byte \d+ ends 1 bytes later"),
        (AEDAT3_HEADER + packet(AEDAT3_EVENTS, size=12), r"the packet at byte \d+ claims 5 events of 12 bytes"),
        (AEDAT3_HEADER + packet([(0, 128, 0, 0, 1)]), r"bad.aedat: x from 128 to 128, expected 0 to 127"),
        (AEDAT3_HEADER + packet(AEDAT3_EVENTS[::-1]), r"bad.aedat: times are not sorted: event 1 at 30099 us follows"),
    ],
)
def test_bad_aedat3_files_are_refused(tmp_path, content, message):
    (tmp_path / "bad.aedat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_aedat3(tmp_path / "bad.aedat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv: begins with '', expected 'class,startTime_usec,endTime_usec'"),
        ("class,start,end\n1,2,3\n", r"labels.csv: begins with 'class,start,end', expected"),
        ("class,startTime_usec,endTime_usec\n", r"labels.csv: labels no gesture; expected one a line"),
        ("class,startTime_usec,endTime_usec\n1,5\n", r"labels.csv: line 2: '1,5', expected three whole numbers"),
        ("class,startTime_usec,endTime_usec\n1,5,x\n", r"line 2: '1,5,x', expected three whole numbers"),
        (
            "class,startTime_usec,endTime_usec\n\n12,5,6\n",
            r"line 3: class 12 from 5 to 6, expected a class from 1 to 11",
        ),
        (
            "class,startTime_usec,endTime_usec\n1,6,6\n",
            r"line 2: class 1 from 6 to 6, expected .* an end after its start",
        ),
    ],
)
def test_bad_gesture_labels_are_refused(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        dvs_gesture.read_gesture_labels(tmp_path / "labels.csv")


def test_gestures_without_their_files_are_refused(tmp_path):
    folder = write_gestures(tmp_path, AEDAT3_EVENTS, GESTURES)
    (folder / "user02_led_labels.csv").unlink()
    with pytest.raises(
        ValueError, match=r"user02_led_labels.csv: no such file, but trials_to_train.txt lists user02_led"
    ):
        load("dvs_gesture", folder=str(folder))
    (folder / "trials_to_train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"trials_to_train.txt: names no recording; expected one .aedat file a line"):
        load("dvs_gesture", folder=str(folder))
    (folder / "trials_to_train.txt").write_text("someone.aedat\n")
    for name in ("someone.aedat", "someone_labels.csv"):
        (folder / name).write_bytes((folder / f"user01_led{name[7:]}").read_bytes())
    with pytest.raises(ValueError, match=r"someone.aedat: expected a name such as user01_fluorescent.aedat"):
        load("dvs_gesture", folder=str(folder))


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a local server has its files."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def zipped(folder, source) -> str:
    """Puts a file or folder into an archive; gives the archive's MD5."""
    with zipfile.ZipFile(folder / f"{source.name}.zip", "w") as archive:
        for path in [source, *source.rglob("*")]:
            archive.write(path, path.relative_to(source.parent))
    return hashlib.md5((folder / f"{source.name}.zip").read_bytes()).hexdigest()


def test_archives_are_downloaded_checked_and_unpacked(shd_folder, served, no_data, cache, monkeypatch):
    folder, url = served
    names = ("shd_train.h5", "shd_test.h5")
    sums = [zipped(folder, shd_folder / name) for name in names]
    files = [Original(f"shd/{name}", f"{url}/{name}.zip", md5) for name, md5 in zip(names, sums, strict=True)]
    monkeypatch.setattr(heidelberg, "SHD_FILES", tuple(files))
    assert load("shd").describe()["samples"] == {"train": 90, "validation": 10, "test": 20}
    assert sorted(path.name for path in (cache / "shd").iterdir()) == sorted(names)
    monkeypatch.setattr(heidelberg, "SHD_FILES", (Original("other/shd_train.h5", files[0].url, sums[1]),))
    with pytest.raises(
        ValueError, match=r"shd_train.h5: download from http.* failed \(.*hash.*\); put it at .*other.shd"
    ):
        load("shd")


def test_an_archive_of_a_folder_is_unpacked(tmp_path, served, no_data, cache, monkeypatch):
    folder, url = served
    raw = write_by_class(tmp_path / "raw", list(CIFAR10), aedat2(AEDAT2_EVENTS), 10, ".aedat")
    sums = {name: zipped(folder, raw / name) for name in CIFAR10}
    files = tuple(Original(f"cifar10_dvs/{name}", f"{url}/{name}.zip", sums[name]) for name in CIFAR10)
    monkeypatch.setattr(cifar10_dvs, "FILES", files)
    assert len(load("cifar10_dvs").test) == 10
    assert sorted(path.name for path in (cache / "cifar10_dvs").iterdir()) == sorted(CIFAR10)


def test_an_archive_without_its_file_is_refused(shd_folder, served, no_data, monkeypatch):
    folder, url = served
    md5 = zipped(folder, shd_folder / "shd_test.h5")
    files = (Original("shd/shd_train.h5", f"{url}/shd_test.h5.zip", md5),)
    monkeypatch.setattr(heidelberg, "SHD_FILES", files)
    with pytest.raises(ValueError, match=r"shd_train.h5.zip: holds no shd_train.h5 \(.*\); delete it and try again"):
        load("shd")
