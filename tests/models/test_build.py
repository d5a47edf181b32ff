"""Networks from configs: shapes, pairing of initial weights, quantization of every layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from squat import LI, LIF, RALIF, RLIF, Anchored, Conv2d, IntWeight, Linear, RCubaLIF, ThresholdCentered
from squat.layers import Dropout
from squat.layers.current import Current
from squat.models import READOUT_NAMES, NetworkConfig, build_network
from squat.neurons.base import Neuron

SMALL = {
    "feedforward": NetworkConfig("feedforward", inputs=14, hidden=(9, 8), classes=5),
    "recurrent": NetworkConfig("recurrent", inputs=14, hidden=(9, 8), classes=5),
    "RCubaLIF": NetworkConfig("recurrent", inputs=14, hidden=(9, 8), classes=5, neuron="RCubaLIF"),
    "RALIF": NetworkConfig("recurrent", inputs=14, hidden=(9, 8), classes=5, neuron="RALIF"),
    "conv": NetworkConfig("conv", inputs=(2, 9, 8), hidden=(3, 4), classes=5, kernel_size=3),
}


def inputs(config: NetworkConfig) -> torch.Tensor:
    shape = (config.inputs,) if isinstance(config.inputs, int) else config.inputs
    return (torch.rand(6, 4, *shape, generator=torch.Generator().manual_seed(0)) < 0.3).float()


@pytest.mark.parametrize("readout", READOUT_NAMES)
@pytest.mark.parametrize(
    "specs", [(None, None), (IntWeight(4), None), (None, Anchored(4)), (IntWeight(4), Anchored(4))]
)
@pytest.mark.parametrize("architecture", SMALL)
def test_every_architecture_readout_and_spec_trains(architecture: str, specs: tuple, readout: str) -> None:
    config = replace(SMALL[architecture], weights=specs[0], states=specs[1], readout=readout)
    net = build_network(config, seed=1)
    scores = net(inputs(config))
    assert scores.shape == (4, 5)
    torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1, 2, 3])).backward()
    for layer in net.layers.layers:
        if isinstance(layer, Linear | Conv2d | RLIF):
            assert layer.weight_spec == config.weights
        if isinstance(layer, Neuron):
            assert layer.state_spec == config.states
    last = net.layers.layers[-1]
    kinds = {"accumulated_current": Linear, "spike_count": LIF}
    assert isinstance(last, kinds.get(readout, LI))


@pytest.mark.parametrize("architecture", SMALL)
def test_initial_weights_depend_on_architecture_and_seed_only(architecture: str) -> None:
    plain = SMALL[architecture]
    other = replace(
        plain, weights=IntWeight(2, scale="learned"), states=ThresholdCentered(2), beta=0.5, readout="spike_count"
    )
    state = torch.random.get_rng_state()
    first, second, third = (build_network(config, seed) for config, seed in ((plain, 3), (other, 3), (plain, 4)))
    assert torch.equal(torch.random.get_rng_state(), state)
    names = [name for name, value in first.named_parameters() if value.dim() >= 1]
    assert len(names) >= 6
    for name in names:
        assert torch.equal(first.get_parameter(name), second.get_parameter(name))
        assert not torch.equal(first.get_parameter(name), third.get_parameter(name))


def test_gains_multiply_the_first_and_the_recurrent_weights() -> None:
    plain = build_network(SMALL["recurrent"], 0)
    scaled = build_network(replace(SMALL["recurrent"], input_gain=3.0, recurrent_gain=0.5), 0)
    (a, b, _), (c, d, _) = plain.layers.layers, scaled.layers.layers
    torch.testing.assert_close(c.weight_in, 3.0 * a.weight_in)
    torch.testing.assert_close(c.weight_rec, 0.5 * a.weight_rec)
    torch.testing.assert_close(d.weight_in, b.weight_in)
    assert float(a.weight_in.detach().abs().max()) <= 14**-0.5
    torch.testing.assert_close(c.bias, a.bias)


@pytest.mark.parametrize("architecture", ["feedforward", "conv"])
def test_batch_norm_and_dropout_reach_the_hidden_layers(architecture: str) -> None:
    plain = SMALL[architecture]
    config = replace(plain, weights=IntWeight(4), states=Anchored(4), batch_norm=True, dropout=0.2)
    net = build_network(config, 0)
    weighted = [layer for layer in net.layers.layers if isinstance(layer, Linear | Conv2d)]
    assert [layer.norm is not None for layer in weighted] == [True, True, False]
    dropped = [index for index, layer in enumerate(net.layers.layers) if isinstance(layer, Dropout)]
    assert [net.layers[index + 1] for index in dropped] == weighted[1:]
    assert torch.equal(weighted[0].weight, build_network(plain, 0).layers[0].weight)
    torch.nn.functional.cross_entropy(net(inputs(config)), torch.tensor([0, 1, 2, 3])).backward()
    assert all(value.grad is not None for value in net.parameters())


@pytest.mark.parametrize("option", [{"batch_norm": True}, {"dropout": 0.5}])
def test_recurrent_networks_refuse_them(option: dict) -> None:
    with pytest.raises(ValueError, match=r"(batch_norm=True|dropout=0.5): recurrent networks have none; use"):
        replace(SMALL["recurrent"], **option)


def test_dropout_leaves_something() -> None:
    with pytest.raises(
        ValueError, match=r"dropout=1.0: expected a probability in \[0, 1\); at 1 no input would be left"
    ):
        replace(SMALL["conv"], dropout=1)


def test_neuron_options_reach_the_neurons() -> None:
    options = {"reset": "zero", "zero_reset": "keep_input", "learn_beta": "sigmoid", "learn_threshold": True}
    options |= {"ste": "clipped", "arithmetic": "float", "initial": "code_of_zero", "threshold": 1.5}
    config = replace(SMALL["recurrent"], states=Anchored(3), readout="mean_membrane", **options)
    layers = build_network(config, 0).layers.layers
    for layer in (layers[0], layers[-1]):
        settings = layer.config()
        assert settings["learn_beta"] == "sigmoid"
        assert settings["threshold"] == 1.5
        assert settings["initial"] == "code_of_zero"
        assert settings["ste"] == "clipped"
        assert settings["arithmetic"] == "float"
    assert layers[0].reset == "zero"
    assert layers[0].zero_reset == "keep_input"
    assert build_network(SMALL["recurrent"], 0).layers.layers[0].zero_reset == "drop_input"
    assert build_network(SMALL["feedforward"], 0).layers.layers[1].zero_reset == "keep_input"


def test_forward_trace_gives_every_layer() -> None:
    config = replace(SMALL["conv"], weights=IntWeight(4), states=Anchored(4))
    net = build_network(config, 0).eval()
    x = inputs(config)
    trace = net.forward_trace(x)
    assert len(trace) == len(net.layers)
    assert isinstance(trace[0], Current)
    assert torch.equal(net.readout(trace[-1]), net(x))


def test_pixels_enter_as_integers_and_constant_inputs_stay_expanded() -> None:
    config = NetworkConfig(
        "feedforward", 14, (9,), 5, input_scale=1 / 255, input_max=255, weights=IntWeight(4), states=Anchored(4)
    )
    net = build_network(config, 0).eval()
    x = torch.randint(0, 256, (1, 4, 14)).float()
    trace = net.forward_trace(x.expand(6, 4, 14))
    assert trace[0].z.stride(0) == 0
    assert torch.equal(net(x.expand(6, 4, 14)), net(x.repeat(6, 1, 1)))


def test_pooling_away_all_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs=\(2, 3, 3\): 2 poolings by 2 leave no pixel; use fewer"):
        build_network(replace(SMALL["conv"], inputs=(2, 3, 3)), 0)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="config=3: expected a NetworkConfig"):
        build_network(3, 0)
    with pytest.raises(ValueError, match="seed=-1: expected an integer from 0"):
        build_network(SMALL["conv"], -1)


def test_the_recurrent_neuron_is_chosen_by_name() -> None:
    for name, neuron in (("RLIF", RLIF), ("RCubaLIF", RCubaLIF), ("RALIF", RALIF)):
        config = NetworkConfig("recurrent", 14, (9, 8), neuron=name, states=Anchored(4))
        assert NetworkConfig.from_json(config.to_json()) == config
        layers = build_network(config, 0).layers.layers
        assert [type(layer) for layer in layers] == [neuron, neuron, Linear]
    assert "neuron" not in NetworkConfig("recurrent").to_json(), "the ids of recorded runs are hashes of it"


def test_a_neuron_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="neuron='LSTM': expected one of 'RLIF', 'RCubaLIF', 'RALIF'"):
        NetworkConfig("recurrent", neuron="LSTM")
    with pytest.raises(ValueError, match="neuron='RALIF': expected architecture='recurrent', got 'feedforward'"):
        NetworkConfig("feedforward", neuron="RALIF")
    with pytest.raises(ValueError, match="zero_reset='keep_input': RCubaLIF drops the input of a reset step always"):
        NetworkConfig("recurrent", neuron="RCubaLIF", zero_reset="keep_input")
