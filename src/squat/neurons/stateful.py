"""What every layer with a state shares: single time steps, its threshold, and what half precision must not narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from squat.checks import check_type
from squat.neurons.thresholds import checked_threshold, learned_threshold
from squat.remember import Remembered, forget_all
from squat.text import OnScreen


class Stateful(OnScreen, nn.Module):
    """A layer that carries a state from call to call: `forward(x [T, B, ...], state=None) -> (output, state)`."""

    carries_state = True
    spiking = True
    states_per_neuron: int = 1
    threshold_start: Tensor
    log_threshold: Tensor
    several_thresholds = False
    """Whether the thresholds of its channels or neurons may differ."""
    wide: tuple[str, ...] = ("threshold", "threshold_start", "log_threshold")
    """Parameters and buffers that are never narrowed: in half precision 8-bit levels would merge."""

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step: `x [B, ...]` and the state of the step before."""
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    @property
    def threshold(self) -> Tensor:
        """The threshold in force, > 0: 0-dim, or of the shape that it was given in.

        A learned one can be set, `neuron.threshold = torch.tensor(0.5)`, but not changed in place.

        Raises:
            ValueError: where that was tried.
        """
        if not self.learn_threshold:
            return self._buffers["threshold"]  # type: ignore[return-value]
        stored = (self.threshold_start, self.log_threshold)
        if torch.compiler.is_compiling():
            return learned_threshold(*stored)
        value: Tensor = self.remembered_threshold(stored, (), lambda: learned_threshold(*stored))
        if not value.is_inference() and value._version:
            self.remembered_threshold.forget()
            raise ValueError("threshold: changed in place, where it is learned; set it, neuron.threshold = value")
        return value

    @threshold.setter
    @torch.no_grad()
    def threshold(self, value: Tensor) -> None:
        self.threshold_start.copy_(checked_threshold(value))
        self.log_threshold.zero_()

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or to use; forgets what was kept, since a fused optimizer's steps leave no trace."""
        forget_all(self)
        return super().train(mode)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "threshold" and isinstance(value, nn.Parameter):
            raise TypeError("threshold: a Parameter, expected a tensor; to train it give learn_threshold=True")
        super().__setattr__(name, value)

    def _set_threshold(self, threshold: float | Sequence[float] | Tensor, learn: bool) -> None:
        theta = checked_threshold(threshold)
        if theta.numel() > 1 and not self.several_thresholds:
            raise ValueError(
                f"threshold: {theta.numel()} values of shape {tuple(theta.shape)}, expected one for all neurons of "
                f"{type(self).__name__}; divide the weights and bias of each channel before it by the channel's "
                "threshold, and give 1"
            )
        self.learn_threshold = check_type("learn_threshold", learn, bool, "True or False")
        self.remembered_threshold = Remembered()
        self.thresholds = theta.numel()
        if learn:
            self.register_buffer("threshold_start", theta.to(torch.get_default_dtype()))
            self.log_threshold = nn.Parameter(torch.zeros_like(self.threshold_start))
        else:
            self._buffers["threshold"] = theta

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Thresholds that are not learned, and those in files that were written before they were logarithms."""
        plain, start, ratio = (prefix + name for name in ("threshold", "threshold_start", "log_threshold"))
        if self.learn_threshold and plain in state_dict:
            state_dict[start] = state_dict.pop(plain)
            state_dict[ratio] = torch.zeros_like(state_dict[start])
        elif not self.learn_threshold and {start, ratio} <= set(state_dict):
            state_dict[plain] = learned_threshold(state_dict.pop(start), state_dict.pop(ratio))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        stored = {**self._parameters, **self._buffers}
        names = [name for name in self.wide if stored.get(name) is not None]
        before = {name: getattr(self, name).detach() for name in names}
        super()._apply(fn, recurse)
        for name in names:
            after = getattr(self, name)
            if torch.finfo(after.dtype).bits < torch.finfo(before[name].dtype).bits:
                after.data = before[name].to(after.device)
        return self
