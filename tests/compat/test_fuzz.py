"""Random forward functions: each is converted to a network that gives the same spikes, or refused by a sentence."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import contextmanager

import pytest
import torch

import squat
from forward_grammar import Written

LIMIT = 20
"""Seconds for one network, far above what any takes: for a hang."""


@contextmanager
def within(seconds, text):
    def stop(*_):
        raise TimeoutError(f"{seconds} s for {text}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def converted(net):
    """The conversion, or the sentence of its refusal."""
    try:
        return squat.from_snntorch(net, net.example(1))
    except ValueError as error:
        text = str(error)
        assert text.startswith("this network cannot be converted: "), f"{net.text} -> {text}"
        assert "\n" not in text
        return text


def check(seed):
    """`converted` or `refused`, after comparing spikes on other inputs than the example."""
    net = Written(seed)
    with within(LIMIT, net.text), torch.no_grad():
        ours = converted(net)
        if isinstance(ours, str):
            assert not net.harmless, f"{seed}: {net.text} -> {ours}"
            return "refused", False, net.heads
        fired = False
        for other in (2, 3):
            for lif in net.lifs:
                lif._init_mem()  # where snnTorch is given no state, it goes on from the last call's
            torch.manual_seed(other)
            net(net.example(other))
            expected, (found, states) = torch.stack(net.gave), ours(torch.stack(net.given))
            hidden = squat.tapped(states)
            assert len(hidden) >= len(net.shown[:-1]), f"{seed}: {net.text}"
            assert all(map(torch.equal, hidden, net.shown)), f"{seed}: {net.text}"
            assert torch.equal(found, expected), f"{seed}: {net.text}"
            fired |= bool(expected.any()) and not bool(expected.all())
    return "converted", fired, net.heads


def run(seeds):
    before = time.process_time()
    counts = Counter(check(seed) for seed in seeds)
    total = sum(counts.values())
    done = {kind: sum(count for key, count in counts.items() if key[0] == kind) for kind in ("converted", "refused")}
    print(f"\n{total} forward functions: {done['converted']} converted, {done['refused']} refused, "
          f"{time.process_time() - before:.0f} s")  # fmt: skip
    assert done["converted"] + done["refused"] == total
    assert min(done.values()) > 0.2 * total
    fired = sum(count for key, count in counts.items() if key[:2] == ("converted", True))
    assert fired > 0.8 * done["converted"]  # spikes to compare
    several = {kind: sum(counts[kind, fired, heads] for fired in (False, True) for heads in (2, 3)) for kind in done}
    assert min(several.values()) > 0.05 * total  # networks of several heads


@pytest.mark.filterwarnings("ignore:.* takes a detached tensor:UserWarning")  # spikes are equal
def test_500_random_forward_functions():
    run(range(1000, 1500))
