"""The embedded spoken digits: complete, and what the 700-channel file gives."""

import importlib.util
import lzma
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_safetensors

from squat.data import load, spoken_digits
from squat.data.spoken_digits import SPEAKERS, by_speaker, by_take

EMBEDDED = files("squat.data").joinpath("embedded")


@pytest.fixture(scope="module")
def stored() -> dict[str, torch.Tensor]:
    return load_safetensors(lzma.decompress(EMBEDDED.joinpath(spoken_digits.EMBEDDED).read_bytes()))


def test_every_speaker_says_every_digit_fifty_times(stored):
    each = stored["speaker"].long() * 500 + stored["label"].long() * 50 + stored["take"].long()
    assert torch.equal(each.sort().values, torch.arange(3000))


def test_embedded_file_is_small_and_has_its_licence():
    assert len(EMBEDDED.joinpath(spoken_digits.EMBEDDED).read_bytes()) < 1_100_000
    licence = EMBEDDED.joinpath("LICENSE.md").read_text()
    assert "CC BY-SA 4.0" in licence
    assert "Free Spoken Digit Dataset" in licence


def test_loads_with_neither_files_nor_network(no_data):
    digits = load("spoken_digits")
    assert [len(part) for part in digits.parts.values()] == [2100, 300, 600]
    assert (digits.classes, digits.steps, digits.input_shape, digits.input_max) == (10, 100, (140,), 1)
    assert digits.train.inputs.density() == pytest.approx(0.096, abs=0.001)
    for part in digits.parts.values():
        assert part.labels.bincount().unique().numel() == 1


def test_parts_by_take_and_by_speaker(stored):
    takes = {code: set(stored["take"][by_take(stored["take"]) == code].tolist()) for code in range(3)}
    assert takes == {0: set(range(15, 50)), 1: set(range(10, 15)), 2: set(range(10))}
    names = {code: {SPEAKERS[k] for k in stored["speaker"][by_speaker(stored["speaker"]) == code]} for code in range(3)}
    assert names == {0: {"george", "jackson", "lucas"}, 1: {"nicolas"}, 2: {"theo", "yweweler"}}


def test_fewer_steps_are_the_first_ones():
    some = torch.tensor([5, 77])
    short, whole = load("spoken_digits", steps=43), load("spoken_digits")
    assert torch.equal(short.test.batch(some)[0], whole.test.batch(some)[0][:43])


def test_a_damaged_embedded_file_is_refused(monkeypatch, tmp_path):
    content = bytearray(EMBEDDED.joinpath(spoken_digits.EMBEDDED).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / spoken_digits.EMBEDDED).write_bytes(content)
    monkeypatch.setattr(spoken_digits, "files", lambda _package: tmp_path)
    with pytest.raises(ValueError, match=r"spoken_digits_140ch_10ms.*: damaged \(.*\); .*: reinstall squat-snn"):
        load("spoken_digits")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": 150}, ValueError, r"channels=150: expected a divisor of 700, such as 140 or 700"),
        ({"channels": 1400}, ValueError, r"channels=1400: expected an integer from 1 to 700"),
        ({"steps": 0}, ValueError, r"steps=0: expected an integer from 1 to 1000000"),
        ({"steps": 10.0}, TypeError, r"steps=10.0: expected an integer from 1 to 1000000"),
        ({"bin_ms": float("nan")}, ValueError, r"bin_ms=nan: expected a finite number > 0"),
        ({"split": "random"}, ValueError, r"split='random': expected one of 'take', 'speaker'"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        load("spoken_digits", **options)


def test_700_channels_without_their_file_say_which_file_goes_where(no_data):
    with pytest.raises(ValueError, match=r"spoken_digits_700ch.npz: not found .*; put it at .*set SQUAT_DATA"):
        load("spoken_digits", channels=700)


def test_embedded_file_is_what_the_script_makes(data_file, stored):
    path = Path(__file__).parents[2] / "tools" / "build_spoken_digits.py"
    spec = importlib.util.spec_from_file_location("build_spoken_digits", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    made = tool.tensors(data_file("spoken_digits/spoken_digits_700ch.npz"))
    assert made.keys() == stored.keys()
    for name, tensor in made.items():
        assert torch.equal(tensor, stored[name]), name


def test_140_channels_are_700_joined_by_five(data_file):
    data_file("spoken_digits/spoken_digits_700ch.npz")
    full, embedded = load("spoken_digits", channels=700), load("spoken_digits")
    for one, other in zip(full.parts.values(), embedded.parts.values(), strict=True):
        some = torch.tensor([0, len(one) - 1, 123])
        (x, y), (x140, y140) = one.batch(some), other.batch(some)
        assert torch.equal(x.unflatten(2, (140, 5)).amax(3), x140)
        assert torch.equal(y, y140)
