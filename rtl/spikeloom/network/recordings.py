"""Recordings of event cameras from a folder of the user: what all sets share, and N-MNIST. `dvs128` has the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import InputError

__all__ = ["NMnist", "Recording", "Recordings", "read_bytes", "read_nmnist"]

HOLD_OUT = 5  # every fifth recording is kept for the test
NMNIST_SIZE = 34  # pixels on a side
EVENT_BYTES = 5


@dataclass(frozen=True, eq=False)
class Recording:
    """The events of one event-camera recording, in the order of the file.

    `times_us` [events] microseconds; `x`, `y` [events] pixels; `polarity` [events], 1 where the pixel became brighter;
    all integers of 32 or 64 bits; `label` the class.
    """

    times_us: np.ndarray
    x: np.ndarray
    y: np.ndarray
    polarity: np.ndarray
    label: int
    size: int = NMNIST_SIZE

    @property
    def addresses(self) -> np.ndarray:
        """Input address of each event, polarity * size**2 + y * size + x, [events]."""
        return (self.polarity * self.size + self.y) * self.size + self.x

    @property
    def inputs(self) -> int:
        """Number of input addresses: two polarities of each pixel."""
        return 2 * self.size**2


@dataclass(frozen=True, eq=False, kw_only=True)
class Recordings:
    """Labelled recordings; each is read when it is asked for.

    `labels` are int64 [recordings]. `recordings[i]` reads recording number i, and iterating reads one after the other.
    Every fifth recording, from number `fold` (0 to 4), is a test: the five folds test each recording once.
    """

    labels: np.ndarray
    fold: int = 0

    title: ClassVar[str]
    shape: ClassVar[tuple[int, int, int]]

    def __post_init__(self):
        if self.fold not in range(HOLD_OUT):
            raise InputError(f"fold {self.fold!r} of {self.title}: accepted are 0 to {HOLD_OUT - 1}")

    def half(self, *, train: bool, count: int | None = None) -> tuple[list[Recording], np.ndarray]:
        """The first `count` recordings of one half, and their classes."""
        chosen = [number for number in range(len(self)) if (number % HOLD_OUT == self.fold) != train][:count]
        return [self[number] for number in chosen], self.labels[chosen]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Recording:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Recording]:
        for index in range(len(self)):
            yield self[index]


@dataclass(frozen=True, eq=False, kw_only=True)
class NMnist(Recordings):
    """A folder of N-MNIST recordings. `ids`, int64 [recordings], are the names of their files."""

    folder: Path
    ids: np.ndarray

    title = "N-MNIST"
    shape = (2, NMNIST_SIZE, NMNIST_SIZE)

    def __getitem__(self, index: int) -> Recording:
        return _read_recording(self.folder / f"{self.ids[index]}.bs2", int(self.labels[index]))


def read_nmnist(folder: Path | str) -> NMnist:
    """Open a folder of N-MNIST recordings: `labels.txt` (lines "id class", # starts a comment) and `<id>.bs2` files.

    A `.bs2` file holds 5 bytes per event, big-endian: x (8 bits), y (8 bits), polarity (1 bit), time in microseconds
    (23 bits); 34 x 34 pixels.

    Source: Orchard, Jayawant, Cohen, Thakor, "Converting Static Image Datasets to Spiking Neuromorphic Datasets Using
    Saccades", Front. Neurosci. 9:437 (2015).

    Raises
    ------
    InputError
        Where the folder or a file is missing or damaged. A recording is read, and checked, when it is asked for.
    """
    folder = Path(folder)
    path = folder / "labels.txt"
    text = read_bytes(path, "a list of 'id class' lines beside the .bs2 files").decode(errors="replace")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        if len(fields) != 2 or not all(field.isascii() and field.isdigit() for field in fields):
            raise InputError(f"{path}: line {number}: {line.strip()!r}; accepted is 'id class', two integers")
        rows.append([int(field) for field in fields])
    if not rows:
        raise InputError(f"{path}: no recordings; accepted are lines 'id class'")
    table = np.array(rows, np.int64)
    missing = [number for number in table[:, 0] if not (folder / f"{number}.bs2").is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(table)} recordings are not in the folder, first {missing[0]}.bs2"
        )
    return NMnist(folder=folder, ids=table[:, 0], labels=table[:, 1])


def _read_recording(path: Path, label: int) -> Recording:
    """Decode one `.bs2` file."""
    data = read_bytes(path, "a recording of 5 bytes per event")
    if not data or len(data) % EVENT_BYTES:
        raise InputError(f"{path}: {len(data)} bytes; accepted is a positive multiple of {EVENT_BYTES}, 5 per event")
    raw = np.frombuffer(data, np.uint8).reshape(-1, EVENT_BYTES).astype(np.int64)
    x, y = raw[:, 0], raw[:, 1]
    bad = (x >= NMNIST_SIZE) | (y >= NMNIST_SIZE)
    if bad.any():
        event = int(bad.argmax())
        raise InputError(
            f"{path}: event {event} at x = {x[event]}, y = {y[event]}; accepted are 0 to {NMNIST_SIZE - 1}"
        )
    times = ((raw[:, 2] & 0x7F) << 16) | (raw[:, 3] << 8) | raw[:, 4]
    return Recording(times, x, y, raw[:, 2] >> 7, label)


def read_bytes(path: Path, accepted: str) -> bytes:
    """The bytes of a file, or InputError that says what should be there."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; accepted is {accepted}") from error
