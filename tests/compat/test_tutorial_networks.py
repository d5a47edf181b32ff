"""Networks in snnTorch's styles: converted, they give the same spikes; then they are quantized, trained and lowered."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import squat
from squat.compat import compare
from tutorial_networks import BATCH, NETWORKS, STEPS, made


def sequence(name, x):
    """The input as squat takes it, `[T, B, ...]`."""
    if name in ("static_input", "max_pooled"):
        return x.expand(STEPS, *x.shape)
    return x.transpose(0, 1) if name == "convolutional" else x


def example(x, options):
    return x[0] if options.get("by_step") else x


def converted_and_compared(name, dyadic):
    net, x, options = made(name, dyadic)
    ours = squat.from_snntorch(net, None if isinstance(net, nn.Sequential) else example(x, options))
    return ours, compare(net, ours, x, options.get("by_step")), options


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_spikes_where_sums_are_exact(name):
    _, comparison, options = converted_and_compared(name, dyadic=True)
    for row in comparison.rows:
        assert row.given_inputs <= options.get("exact", 0.0), str(comparison)
        assert row.free_running <= options.get("exact", 0.0), str(comparison)
        assert 0.02 < row.rate < 0.98 or name == "regression"


@pytest.mark.parametrize("name", NETWORKS)
def test_nearly_the_same_spikes_with_any_weights(name):
    ours, comparison, _ = converted_and_compared(name, dyadic=False)
    print(comparison)
    for row in comparison.rows:
        if row.kind == "LIF":
            assert row.given_inputs == 0.0, str(comparison)  # the same currents: bit for bit
        if row.kind != "LI":
            assert row.free_running <= 0.02, str(comparison)
    assert len(comparison.rows) == sum(hasattr(layer, "set_state_spec") for layer in ours.layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_quantize_train_and_lower(name):
    net, x, options = made(name)
    before = copy.deepcopy(net.state_dict())
    first = None if isinstance(net, nn.Sequential) else example(x, options)
    ours = squat.from_snntorch(net, first, arithmetic="integer")
    squat.quantize_(ours, weights=squat.IntWeight(4), states=squat.Anchored(4))
    steps, start = sequence(name, x), [parameter.detach().clone() for parameter in ours.parameters()]
    optimizer = torch.optim.Adam(ours.parameters(), lr=5e-3)
    for _ in range(3):
        out = ours(steps)[0]
        loss = (out.mean(0) - torch.arange(out.shape[-1]) / out.shape[-1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert bool(loss.isfinite())
    changed = [not torch.equal(old, new) for old, new in zip(start, ours.parameters(), strict=True)]
    assert all(changed), changed
    after = net.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    if "lowers" in options:
        with pytest.raises(ValueError, match=rf"cannot be lowered: .*\({options['lowers']}\)"):
            squat.lower(ours, options.get("image"))
        return
    machine = squat.lower(ours, options.get("image"))
    expected = ours.eval()(steps)[0]
    found = torch.tensor(machine.run(steps).output)
    if name == "regression":  # an LI gives codes there
        found = ours[-1].levels[found.long()]
    assert torch.equal(found.float(), expected.reshape(STEPS, BATCH, -1))
