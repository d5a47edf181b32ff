"""A quantized network beside its float network: what the comparison counts, says, writes and draws."""

from __future__ import annotations

import json

import pytest
import torch

import squat
from squat.ptq import calibrate, compare, van_rossum
from squat.ptq.comparison import Comparison

SEQUENCES = [(torch.rand(20, 8, 9, generator=torch.Generator().manual_seed(seed)) < 0.3).float() for seed in (0, 1)]


def _net():
    torch.manual_seed(1)
    net = squat.Sequential(squat.RLIF(9, 16, 0.9), squat.Linear(16, 5), squat.LIF(0.8), squat.Linear(5, 3), squat.LI())
    with torch.no_grad():
        net[0].weight_in.mul_(4.0)
        net[1].weight.mul_(4.0)
    return net.eval()


def _pair(**options):
    net = _net()
    return net, calibrate(net, SEQUENCES, weights=squat.IntWeight(3), states=squat.Anchored(2), **options)[0]


def test_a_network_is_at_no_distance_from_itself():
    found = compare(_net(), _net(), SEQUENCES)
    for row in found.layers[:2]:
        assert (row.spikes.differing, row.spikes.count_difference, row.spikes.van_rossum) == (0.0, 0.0, 0.0)
        assert row.rates[0] == row.rates[1]
        assert row.spec is None
        assert row.occupancy == ()
    assert found.layers[2].spikes is None
    assert found.layers[2].silent == (None, None)
    assert found.samples == 16


def test_the_numbers_are_those_of_both_networks():
    net, quantized = _pair()
    x = torch.cat(SEQUENCES, 1)
    first = [one[0](x)[0].detach() for one in (net, quantized)]
    row = compare(net, quantized, SEQUENCES, time_constant=5.0).layers[0]
    assert row.spikes.differing == pytest.approx(float((first[0] != first[1]).double().mean()))
    assert row.spikes.count_change == pytest.approx(float((first[1].sum(0) - first[0].sum(0)).mean()))
    assert row.spikes.van_rossum == pytest.approx(float(van_rossum(first[1], first[0], 5.0).mean()))
    assert row.rates == pytest.approx(tuple(float(spikes.double().mean()) for spikes in first))
    assert row.silent == pytest.approx(tuple(float((spikes.sum((0, 1)) == 0).double().mean()) for spikes in first))
    codes, state = [], None
    for t in range(20):
        state = quantized[0](x[t : t + 1], state)[1].detach()
        codes.append(state.codes)
    shares = torch.bincount(torch.stack(codes).flatten().long(), minlength=4) / (20 * 16 * 16)
    assert row.occupancy == pytest.approx(tuple(shares.tolist()))
    assert sum(row.occupancy) == pytest.approx(1.0)
    assert row.unused == int((shares == 0).sum())


def test_saturation_is_that_of_the_float_membranes_on_the_levels():
    net = squat.Sequential(squat.LI(0.8))
    x = torch.randn(20, 4, 5, generator=torch.Generator().manual_seed(0)) * 2
    quantized, _ = calibrate(net, [x], states=squat.Uniform(4))
    u = net(x)[0].detach()
    (seen,) = compare(net, quantized, [x]).layers[0].states
    assert seen.saturated_low == pytest.approx(float((u < -1.0).double().mean()))
    assert seen.above == pytest.approx(tuple((u > quantized[0].levels[-1]).double().mean((1, 2)).tolist()))
    assert len(seen.mean) == 20
    assert (seen.observed_low, seen.observed_high) == (float(u.min()), float(u.max()))
    inside = (u >= seen.histogram_low) & (u < seen.histogram_high)
    assert sum(seen.histogram) == int(inside.sum())


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match=r"net has the layers of neurons .*'0': 'LIF'.*: expected those of reference"):
        compare(squat.Sequential(squat.LI()), squat.Sequential(squat.LIF()), SEQUENCES)
    with pytest.raises(ValueError, match="net has no layer of neurons: there are no states in Sequential to compare"):
        compare(squat.Sequential(squat.Linear(9, 3)), squat.Sequential(squat.Linear(9, 3)), SEQUENCES)
    with pytest.raises(TypeError, match=r"net=.*expected a Network or a Sequential"):
        compare(_net(), torch.nn.Linear(3, 3), SEQUENCES)
    with pytest.raises(ValueError, match=r"time_constant=0: expected a finite number > 0"):
        compare(_net(), _net(), SEQUENCES, time_constant=0)


def test_silent_saturated_and_shuffled_layers_are_warnings():
    net = squat.Sequential(squat.LIF(0.95))
    x = torch.full((40, 2, 4), 0.07)
    quantized, _ = calibrate(net, [x], states=squat.Uniform(2))
    found = compare(net, quantized, [x])
    text = "layer 0 (LIF): no neuron spikes on the calibration data (before calibration 0% were silent)"
    assert text in found.warnings
    assert any("its spikes are as far from the float network's as silence would be" in line for line in found.warnings)
    wide = squat.Sequential(squat.LI(0.9))
    low = [torch.full((20, 2, 3), -1.0)]
    (warning,) = compare(wide, calibrate(wide, low, states=squat.Uniform(4))[0], low).warnings
    assert "of the float membranes lie below the lowest level" in warning


def test_it_prints_and_is_json():
    found = compare(*_pair(), SEQUENCES)
    assert isinstance(found, Comparison)
    lines = str(found).splitlines()
    assert lines[0] == "compared on 16 samples"
    assert sum(line.startswith("0      RLIF") for line in lines) == 3
    assert any("van Rossum" in line and "of silence" in line for line in lines)
    assert any(line.startswith("4      LI.u") for line in lines)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["layers"][0]["spec"]["type"] == "Anchored"
    assert len(document["layers"][0]["states"][0]["mean"]) == 20
    assert document["layers"][0]["spikes"]["differing"] == found.layers[0].spikes.differing


def test_the_picture_is_a_file_and_bad_names_are_errors(tmp_path):
    found = compare(*_pair(), SEQUENCES)
    found.save_picture(tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    found.save_picture(tmp_path / "one.svg")
    assert b"<svg" in (tmp_path / "one.svg").read_bytes()
    with pytest.raises(ValueError, match=r"one.doc: ends in '.doc', expected one of .png, .svg, .pdf"):
        found.save_picture(tmp_path / "one.doc")
    with pytest.raises(ValueError, match=r"folder .*gone does not exist; make it first"):
        found.save_picture(tmp_path / "gone" / "one.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg"]


def test_fitted_levels_are_saved_lowered_and_proved_equal(tmp_path):
    from squat.integer.proof import prove

    torch.manual_seed(0)
    net = squat.Sequential(squat.RLIF(9, 12, 0.9, threshold=1.7), squat.Linear(12, 5), squat.LIF(0.8, threshold=0.6))
    options = {"weights": squat.IntWeight(4), "states": squat.Anchored(3), "bias_correction": True}
    quantized, _ = calibrate(net, SEQUENCES, state_range="lloyd_max", near_threshold=10.0, **options)
    squat.save(quantized, tmp_path / "net.safetensors")
    again = squat.load(tmp_path / "net.safetensors")
    assert again[0].state_spec == quantized[0].state_spec != quantized[2].state_spec
    machine = squat.lower(again)
    prove(again, machine)
    x = SEQUENCES[0]
    spikes = again(x)[0].detach().numpy()
    assert (machine.run(x.numpy().astype("uint8")).output == spikes).all()
