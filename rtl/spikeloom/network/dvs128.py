"""Recordings of a DVS128, a camera of 128 x 128 pixels, from a folder of the user: CIFAR10-DVS, and others like it.

A folder for each class, in the order of their names, with recordings in it:

    NAME.aedat   AEDAT 2.0 (CIFAR10-DVS): lines that start with #, then big-endian pairs of 32 bits, address and time in
                 microseconds. Of an address, bit 0 is 1 where the pixel became darker, bits 7 to 1 and 14 to 8 say
                 where it is, and higher bits are other kinds of events, which are left out.
                 AEDAT 3.1: lines up to #!END-HEADER, then packets: a little-endian header of 28 bytes (kind, source,
                 bytes of an event, where its time is, times 2**31, three numbers of events), then the events. Those of
                 kind 1 are {bit 0: valid, bit 1: polarity, bits 16 to 2: y, bits 31 to 17: x}, time.
    NAME.npz     arrays t (microseconds), x, y, p (1: brighter), one item for each event.

The pixel of an AEDAT 2.0 address lies in column 127 - (bits 14 to 8) and row 127 - (bits 7 to 1), as other readers of
CIFAR10-DVS have it: the pictures then stand upright. Times count from the first event.

Sources: inivation, "AEDAT file formats"; Li, Liu, Ji, Li, Shi, "CIFAR10-DVS: an event-stream dataset for object
classification", Front. Neurosci. 11:309 (2017).
"""

import re
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from ..errors import InputError
from .recordings import Recording, Recordings, read_bytes

__all__ = ["SIZE", "Dvs128", "read_dvs128"]

SIZE = 128
PACKET, POLARITY = 28, 1  # bytes of a header, kind of its events
ACCEPTED = "AEDAT 2.0 or 3.1 (.aedat), or .npz with arrays t, x, y, p"


@dataclass(frozen=True, eq=False, kw_only=True)
class Dvs128(Recordings):
    """A folder of recordings: the first of each class, then the second of each, and so on."""

    files: tuple[Path, ...]
    classes: tuple[str, ...]

    title = "recordings of a DVS128"
    shape = (2, SIZE, SIZE)

    def __getitem__(self, index: int) -> Recording:
        path = self.files[index]
        read = _npz if path.suffix == ".npz" else _aedat
        times, x, y, polarity = read(path, read_bytes(path, f"a recording, {ACCEPTED}"))
        if not len(times):
            raise InputError(f"{path}: no event of a pixel; accepted is at least one, {ACCEPTED}")
        for name, array, most in (("x", x, SIZE - 1), ("y", y, SIZE - 1), ("p", polarity, 1)):
            bad = (array < 0) | (array > most)
            if bad.any():
                raise InputError(
                    f"{path}: event {int(bad.argmax())} has {name} = {array[bad][0]}; accepted are 0 to {most}"
                )
        return Recording(times - times.min(), x, y, polarity, int(self.labels[index]), SIZE)


def read_dvs128(folder: Path | str) -> Dvs128:
    """Open a folder of recordings; see the module.

    Raises
    ------
    InputError
        Where there is no such folder, or none with recordings. A recording is read, and checked, when it is asked for.
    """
    folder = Path(folder)
    found: list[tuple[int, int, Path]] = []
    classes = []
    for each in sorted(folder.iterdir()) if folder.is_dir() else []:
        files = sorted((path for path in each.glob("*") if path.suffix in (".aedat", ".npz")), key=_natural)
        if files:
            found += [(number, len(classes), path) for number, path in enumerate(files)]
            classes.append(each.name)
    if not found:
        raise InputError(f"{folder}: no recordings; accepted is a folder with a folder for each class, of {ACCEPTED}")
    found.sort(key=lambda row: row[:2])
    return Dvs128(
        files=tuple(path for *_, path in found),
        labels=np.array([label for _, label, _ in found], np.int64),
        classes=tuple(classes),
    )


def _natural(path: Path) -> list:
    """Sorts names with 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


Events = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Times, x, y and polarity, int64 [events]."""


def _aedat(path: Path, data: bytes) -> Events:
    """Decode an .aedat file."""
    start, lines = 0, []
    while data[start : start + 1] == b"#":
        end = data.find(b"\n", start) + 1
        if not end:
            break
        lines.append(data[start:end].strip())
        start = end
        if lines[-1] == b"#!END-HEADER":
            break
    version = lines[0] if lines else b""
    if version == b"#!AER-DAT2.0":
        return _aedat2(path, data[start:])
    if version.startswith(b"#!AER-DAT3."):
        return _aedat3(path, data[start:])
    raise InputError(f"{path}: starts with {data[:12]!r}; accepted are {ACCEPTED}")


def _aedat2(path: Path, data: bytes) -> Events:
    if len(data) % 8:
        raise InputError(f"{path}: {len(data)} bytes of events; accepted is a multiple of 8")
    address, times = np.frombuffer(data, ">u4").reshape(-1, 2).astype(np.int64).T
    pixel = address < 1 << 15
    address, times = address[pixel], times[pixel]
    return times, SIZE - 1 - (address >> 8), SIZE - 1 - (address >> 1 & 0x7F), 1 - (address & 1)


def _aedat3(path: Path, data: bytes) -> Events:
    parts, start = [np.zeros((0, 2), np.int64)], 0
    while start < len(data):
        header = np.frombuffer(data[start : start + PACKET].ljust(PACKET, b"\0"), "<u4").astype(np.int64)
        kind, size, overflow, events = header[0] & 0xFFFF, header[1], header[3], header[5]
        end = start + PACKET + int(size * events)
        if end > len(data) or size < 1 or (kind == POLARITY and size != 8):
            raise InputError(f"{path}: byte {start} of its packets: damaged, or cut off; accepted are {ACCEPTED}")
        if kind == POLARITY:
            words = np.frombuffer(data[start + PACKET : end], "<u4").reshape(-1, 2).astype(np.int64)
            words[:, 1] += overflow << 31
            parts.append(words[words[:, 0] & 1 == 1])
        start = end
    word, times = np.concatenate(parts).T
    return times, word >> 17, word >> 2 & 0x7FFF, word >> 1 & 1


def _npz(path: Path, data: bytes) -> Events:
    """Decode an .npz file."""
    try:
        with np.load(BytesIO(data), allow_pickle=False) as file:
            arrays = [file[key] for key in ("t", "x", "y", "p")]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        raise InputError(f"{path}: not a readable recording ({error}); accepted are {ACCEPTED}") from error
    if any(array.shape != arrays[0].shape or array.ndim != 1 or array.dtype.kind not in "iub" for array in arrays):
        raise InputError(
            f"{path}: t, x, y, p of {', '.join(f'{a.dtype} {list(a.shape)}' for a in arrays)}; accepted are lists of "
            "integers, one item for each event"
        )
    times, x, y, polarity = (array.astype(np.int64) for array in arrays)
    return times, x, y, polarity
