"""Readers of event-camera files: ATIS (N-MNIST), AEDAT 2.0 (CIFAR10-DVS) and AEDAT 3.1 (DVS128 Gesture).

Each gives `CameraEvents` and checks what it reads: format, whole events, pixels on the sensor, times that never fall.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from squat.data.readers import AGAIN, unreadable
from squat.text import brief

ATIS_BYTES, ATIS_OVERFLOW_ROW, ATIS_OVERFLOW_US = 5, 240, 1 << 13
DVS128_SIDE = 128
LATEST = 2**32
PACKET = np.dtype(
    [("type", "<i2"), ("source", "<i2")]
    + [(name, "<i4") for name in ("size", "time_at", "overflow", "capacity", "number", "valid")]
)
"""Header of a packet of AEDAT 3.1."""
POLARITY_EVENT, POLARITY_BYTES = 1, 8


class CameraEvents(NamedTuple):
    """Events in order, int64 `[E]` each: microseconds, column, row (0 0 is top left), polarity (1: brighter)."""

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray

    def __repr__(self) -> str:
        return brief(self)

    def units(self, side: int) -> np.ndarray:
        """Channel of each event, `(p * side + y) * side + x`."""
        return ((self.p * side + self.y) * side + self.x).astype(np.uint16)


def read_atis(path: Path, side: int) -> CameraEvents:
    """Events of a file of N-MNIST: 40 bits each, big-endian: 8 x, 8 y, 1 polarity, 23 microseconds.

    An event with y = 240 is none: it says that the clock has run over, and 2**13 us are added from there on.

    Source: G. Orchard's description of the N-MNIST files and the Matlab functions that come with them.
    """
    raw = np.frombuffer(_content(path), np.uint8)
    if len(raw) % ATIS_BYTES:
        raise unreadable(path, f"truncated: {len(raw)} bytes, expected a multiple of {ATIS_BYTES}", AGAIN)
    x, y, high, middle, low = raw.reshape(-1, ATIS_BYTES).astype(np.int64).T
    overflows = y == ATIS_OVERFLOW_ROW
    t = ((high & 0x7F) << 16 | middle << 8 | low) + np.cumsum(overflows) * ATIS_OVERFLOW_US
    kept = ~overflows
    return _checked(path, CameraEvents(t[kept], x[kept], y[kept], high[kept] >> 7), side)


def read_aedat2(path: Path) -> CameraEvents:
    """Events of an AEDAT 2.0 file of a DVS128: lines of text with `#`, then 32 bits address, 32 bits microseconds.

    Big-endian; address bit 0 polarity (0: brighter), bits 1-7 and 8-14 the pixel, bit 15 a special event, which is left
    out. The pixel is turned as CIFAR10-DVS has its pictures: column 127 minus bits 8-14, row 127 minus bits 1-7.

    Source: iniVation, "AEDAT file formats"; Li et al. 2017 for the orientation.
    """
    content = _content(path)
    if not content.startswith(b"#!AER-DAT2."):
        raise unreadable(path, f"begins with {content[:16]!r}, expected #!AER-DAT2.0, the mark of AEDAT 2.0", AGAIN)
    start = 0
    while content[start : start + 1] == b"#":
        start = content.find(b"\n", start) + 1 or len(content)
    if (len(content) - start) % 8:
        raise unreadable(path, f"truncated: {len(content) - start} bytes of events, expected a multiple of 8", AGAIN)
    address, t = np.frombuffer(content, ">u4", offset=start).reshape(-1, 2).astype(np.int64).T
    if len(address) and address.max() >= 1 << 16:
        raise unreadable(path, f"address {address.max():#x}; expected 16 bits, as a DVS128 has", AGAIN)
    kept = address < 1 << 15
    address, t = address[kept], t[kept]
    x, y, p = 127 - (address >> 8), 127 - (address >> 1 & 0x7F), 1 - (address & 1)
    return _checked(path, CameraEvents(t, x, y, p), DVS128_SIDE)


def read_aedat3(path: Path) -> CameraEvents:
    """Polarity events of an AEDAT 3.1 file of a DVS128: a text header, then packets, little-endian.

    Each event is 32 bits of data (bit 0 valid, bit 1 polarity, bits 2-16 row, bits 17-31 column) and 32 bits of
    microseconds, to which the packet adds `overflow * 2**31`. Events that are not valid, and packets of other types,
    are left out.

    Source: iniVation, "AEDAT file formats", version 3.1.
    """
    content = _content(path)
    if not content.startswith(b"#!AER-DAT3.1"):
        raise unreadable(path, f"begins with {content[:16]!r}, expected #!AER-DAT3.1, the mark of AEDAT 3.1", AGAIN)
    if (end := content.find(b"#!END-HEADER\r\n")) < 0:
        raise unreadable(path, "truncated: its text header has no end (#!END-HEADER)", AGAIN)
    place, pieces = end + len(b"#!END-HEADER\r\n"), []
    while place < len(content):
        place, piece = _packet(path, content, place)
        pieces += [piece]
    data, t = np.concatenate([np.empty((0, 2), np.int64), *pieces]).T
    kept = (data & 1) == 1
    data, t = data[kept], t[kept]
    return _checked(path, CameraEvents(t, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1), DVS128_SIDE)


def _packet(path: Path, content: bytes, place: int) -> tuple[int, np.ndarray]:
    """Where the packet at byte `place` ends, and its polarity events, int64 `[E, 2]`: data and full times."""
    start = place + PACKET.itemsize
    if start > len(content):
        raise unreadable(path, f"truncated: the packet header at byte {place} is cut short", AGAIN)
    header = np.frombuffer(content, PACKET, 1, place)[0]
    size, number = int(header["size"]), int(header["number"])
    if size <= 0 or number < 0 or (header["type"] == POLARITY_EVENT and size != POLARITY_BYTES):
        raise unreadable(path, f"the packet at byte {place} claims {number} events of {size} bytes", AGAIN)
    end = start + size * number
    if end > len(content):
        raise unreadable(path, f"truncated: the packet at byte {place} ends {end - len(content)} bytes later", AGAIN)
    if header["type"] != POLARITY_EVENT:
        return end, np.empty((0, 2), np.int64)
    events = np.frombuffer(content, "<u4", 2 * number, start).reshape(-1, 2).astype(np.int64)
    events[:, 1] += int(header["overflow"]) << 31
    return end, events


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, f"cannot be read ({error.strerror})", "check the path") from error


def _checked(path: Path, events: CameraEvents, side: int) -> CameraEvents:
    """The events, if their pixels lie on the sensor and their times never fall."""
    for name, values in (("x", events.x), ("y", events.y)):
        if len(values) and (values.min() < 0 or values.max() >= side):
            raise unreadable(path, f"{name} from {values.min()} to {values.max()}, expected 0 to {side - 1}", AGAIN)
    check_times(path, events.t)
    return events


def check_times(path: Path, t: np.ndarray, where: str = "") -> None:
    """Refuse times, int64 in microseconds, that fall or do not fit 32 bits."""
    if len(falls := np.flatnonzero(np.diff(t) < 0)):
        at = int(falls[0]) + 1
        came = f"times are not sorted{where}: event {at} at {t[at]} us follows one at {t[at - 1]} us"
        raise unreadable(path, came, AGAIN)
    if len(t) and (t[0] < 0 or t[-1] >= LATEST):
        raise unreadable(path, f"times from {t[0]} to {t[-1]} us{where}, expected 0 to below 2**32", AGAIN)
