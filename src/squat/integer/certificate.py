"""`Certificate`: what a proof of equality has compared, as frozen values with a JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from squat.checks import check_int, check_type
from squat.text import brief


@dataclass(frozen=True)
class LayerCertificate:
    """One layer with neurons.

    Attributes:
        name: of the layer.
        neurons: distinct machines that were compared.
        codes: number of codes.
        cuts: integer cuts that each implementation was asked for: neurons x (codes + the first step) x boundaries.
        shift: fraction bits `F` of the accumulator.
        accumulator_bits: bits of a signed accumulator that no sum, whole or partial, overflows.
        lowest_sum, highest_sum: range of the synaptic sums that was searched, over all neurons.
        reachable_codes: codes that at least one neuron can ever have.
        dead_codes: codes that never decay without input, though they are not the resting code.
        digest: SHA-256 of all cuts, as little-endian int64: first step, then by code; boundary; neuron.
    """

    name: str
    neurons: int
    codes: int
    cuts: int
    shift: int
    accumulator_bits: int
    lowest_sum: int
    highest_sum: int
    reachable_codes: int
    dead_codes: int
    digest: str

    __repr__ = brief


@dataclass(frozen=True)
class Certificate:
    """Equality of all implementations, layer by layer.

    Attributes:
        fingerprint: of the network it is about.
        implementations: what was compared, the training loop first.
        layers: in order.
        sums: synaptic sums of implementations beside the engine that were compared with the weights: each input and
            recurrent spike alone, none, all, and some at random.
    """

    fingerprint: str
    implementations: tuple[str, ...]
    layers: tuple[LayerCertificate, ...]
    sums: int = 0

    __repr__ = brief

    @property
    def cuts(self) -> int:
        """Integer cuts of all layers."""
        return sum(layer.cuts for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """The certificate as JSON values; `from_json` is the inverse."""
        layers = [asdict(layer) for layer in self.layers]
        names = list(self.implementations)
        return {"fingerprint": self.fingerprint, "implementations": names, "layers": layers, "sums": self.sums}

    @classmethod
    def from_json(cls, document: Any) -> Certificate:
        """The certificate that `to_json` described.

        Raises:
            TypeError, ValueError: for another document.

        Example:
            >>> Certificate.from_json(Certificate("ab", ("training",), ()).to_json()).implementations
            ('training',)
        """
        document = check_type("certificate", document, Mapping, "a JSON object")
        _check_keys("certificate", document, cls)
        names = check_type("implementations", document["implementations"], list, "a list of names")
        for name in (document["fingerprint"], *names):
            check_type("certificate", name, str, "text")
        layers = check_type("layers", document["layers"], list, "a list of objects")
        sums = check_int("sums", document["sums"], 0)
        return cls(document["fingerprint"], tuple(names), tuple(_layer(layer) for layer in layers), sums)


def _layer(document: Any) -> LayerCertificate:
    document = check_type("certificate of a layer", document, Mapping, "a JSON object")
    _check_keys("certificate of a layer", document, LayerCertificate)
    for field in fields(LayerCertificate):
        if field.type == "str":
            check_type(field.name, document[field.name], str, "text")
        else:
            check_int(field.name, document[field.name], -(2**63), 2**63)
    return LayerCertificate(**document)


def _check_keys(name: str, document: Mapping[str, Any], cls: type) -> None:
    expected = {field.name for field in fields(cls)}
    if set(document) != expected:
        raise ValueError(f"{name}: keys {sorted(document)}, expected {sorted(expected)}")
