"""Make the embedded spoken digits (140 channels, 10 ms, 100 steps, one bit per cell) from the 700-channel file.

    python tools/build_spoken_digits.py PATH/TO/spoken_digits_700ch.npz

The result is a safetensors file inside xz: no pickle, a checksum in the container, about 1 MB. Another version of xz
may compress to other bytes; the content is the same, and `tests/data/test_spoken_digits.py` compares the content.
"""

from __future__ import annotations

import lzma
import os
import sys
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from squat.data import spoken_digits as digits

TARGET = Path(digits.__file__).parent / "embedded" / digits.EMBEDDED
# One entry only: with several, safetensors writes them in no fixed order.
METADATA = {
    "about": "Spoken digits as cochlear spikes, 140 channels, 10 ms steps; bit t % 8 of byte [n, t // 8, c] is step t. "
    "CC BY-SA 4.0, from the Free Spoken Digit Dataset; see LICENSE.md beside this file."
}


def tensors(full: Path) -> dict[str, Tensor]:
    """What the embedded file holds, made from the 700-channel file."""
    recordings = digits.bin_recordings(full, digits.EMBEDDED_CHANNELS, digits.EMBEDDED_BIN_MS, digits.EMBEDDED_STEPS)
    return recordings._asdict() | {"spikes": recordings.spikes.values}


def main() -> None:
    """Write the embedded file; the path of the 700-channel file is the only argument."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    plain = save(tensors(Path(sys.argv[1])), METADATA)
    content = lzma.compress(plain, check=lzma.CHECK_SHA256, preset=9 | lzma.PRESET_EXTREME)
    TARGET.parent.mkdir(exist_ok=True)
    partial = TARGET.with_suffix(".partial")
    partial.write_bytes(content)
    os.replace(partial, TARGET)
    print(f"{TARGET}: {len(content)} bytes")


if __name__ == "__main__":
    main()
