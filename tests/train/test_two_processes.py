"""Two processes with half a batch each have the gradients of one process with all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plain_neuron import largest_error

SCRIPT = """
import os
import sys
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
import squat
from squat.models import NetworkConfig, build_network

rank, processes, architecture, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
shape = (2, 8, 8) if architecture == "conv" else (20,)
config = NetworkConfig(
    architecture, inputs=shape if architecture == "conv" else 20, hidden=(12,), classes=4, threshold=0.2,
    weights=squat.IntWeight(4, scale=sys.argv[5]), states=squat.Anchored(4), learn_beta="clamp", kernel_size=3,
)
net = build_network(config, seed=0)
x = (torch.rand(9, 8, *shape, generator=torch.Generator().manual_seed(0)) < 0.3).float()
label = torch.arange(8) % 4
if processes > 1:
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=processes)
    net = DistributedDataParallel(net)
    x, label = x[:, rank::processes], label[rank::processes]
for step in range(2):
    net.zero_grad()
    torch.nn.functional.cross_entropy(net(x).float(), label).backward()
gradients = {name.removeprefix("module."): p.grad for name, p in net.named_parameters()}
torch.save(gradients, f"{folder}/{processes}-{rank}.pt")
if processes > 1:
    torch.distributed.destroy_process_group()
os._exit(0)  # threads of torch's process group now and then abort the shutdown of the interpreter
"""


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "rule"), [("recurrent", "mse"), ("feedforward", "learned"), ("conv", "max")])
def test_gradients_of_two_processes_are_those_of_one(architecture, rule, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(processes), architecture, str(tmp_path), rule],
            stderr=subprocess.PIPE,
            text=True,
        )
        for processes in (1, 2)
        for rank in range(processes)
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert not any(process.returncode for process in started), errors
    whole, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    for name, expected in whole.items():
        assert torch.equal(first[name], second[name])
        assert float(expected.abs().max()) > 0
        assert largest_error(first[name], expected) <= 1e-5, name
