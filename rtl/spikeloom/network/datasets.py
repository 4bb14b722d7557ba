"""Labelled inputs: scikit-learn's digits (bundled, no download), MNIST idx files and recordings of event cameras from a
folder, what `sequence` and `moving` make, and the observations of `interception`.

MNIST and N-MNIST are under ShareAlike licences, so neither is part of this package: the user names a folder.
"""

import gzip
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .dvs128 import Dvs128, read_dvs128
from .moving import MovingDigits
from .recordings import NMnist, Recording, Recordings, read_bytes, read_nmnist
from .sequence import SequenceTask

if TYPE_CHECKING:
    from .interception.dataset import InterceptionTask

__all__ = [
    "DATASETS",
    "Dataset",
    "Dvs128",
    "EventData",
    "NMnist",
    "Recording",
    "load_dataset",
    "load_digits_split",
    "load_idx",
    "load_mnist",
    "load_npz",
    "read_dvs128",
    "read_nmnist",
]

DATASETS = ("digits", "mnist", "nmnist", "dvs128", "npz", "sequence", "moving", "interception")
DIGITS_TEST = 360
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


EventData = Recordings | MovingDigits
"""Labelled recordings of an event camera, real or synthetic."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled data set of values in [0, 1].

    `train_x`, `test_x` are float32 [samples, inputs]; `train_y`, `test_y` int64 [samples] class numbers; `shape` is
    the picture that the inputs were, row by row.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    shape: tuple[int, ...]

    @property
    def classes(self) -> int:
        """Number of classes: the largest label and one."""
        return int(max(labels.max(initial=-1) for labels in (self.train_y, self.test_y))) + 1


def load_digits_split(seed: int = 0) -> Dataset:
    """The 1797 handwritten digits, 8 x 8, that come with scikit-learn: 1437 to train and 360 to test.

    Values are pixel / 16. Sample i belongs to the test set where number i of the raw Philox stream with key `seed` is
    among the 360 smallest; both sets keep the order of the original.

    Source: UCI "Optical Recognition of Handwritten Digits" (Alpaydin, Kaynak 1998), CC BY 4.0.

    Raises
    ------
    InputError
        Where `seed` is not an integer from 0 to 2**64 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 64:
        raise InputError(f"seed = {seed!r}: accepted is an integer from 0 to {(1 << 64) - 1}")
    from sklearn.datasets import load_digits  # a second to import: only when asked for

    pixels, labels = (np.asarray(each) for each in load_digits(return_X_y=True))
    draw = np.random.Philox(key=int(seed)).random_raw(len(labels))
    test = np.zeros(len(labels), bool)
    test[np.argsort(draw, kind="stable")[:DIGITS_TEST]] = True
    values, labels = (pixels / 16).astype(np.float32), labels.astype(np.int64)
    return Dataset("digits", values[~test], labels[~test], values[test], labels[test], (8, 8))


def load_idx(path: Path | str) -> np.ndarray:
    """Read one idx file (the format of MNIST), plain or gzip, whatever its name.

    Header: two zero bytes, type code, number of dimensions, then each dimension as a big-endian 32-bit integer.

    Returns
    -------
    array of the stored type in native byte order, of the stored shape

    Raises
    ------
    InputError
        Where the file is missing, unreadable, truncated, too long or not idx.
    """
    path = Path(path)
    data = read_bytes(path, "an idx file, plain or gzip")
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip file ({error}); accepted is an idx file, plain or gzip") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or data[3] == 0:
        raise InputError(f"{path}: not an idx file, it starts with {data[:4].hex(' ') or 'nothing'}")
    dimensions, dtype = data[3], np.dtype(IDX_TYPES[data[2]])
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InputError(
            f"{path}: {len(data)} bytes; its header says {expected} (shape {list(shape)}, type {dtype.name})"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def load_mnist(folder: Path | str, *, train: bool = True) -> Dataset:
    """MNIST, or any set in its format, from its idx files in `folder`, plain or `.gz`. Values are pixel / 255.

    The files are `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, and with `train` also `train-images-idx3-ubyte`
    and `train-labels-idx1-ubyte`; a dot in place of the dash before `idx` is accepted. Without `train`, the training
    half is empty.

    Raises
    ------
    InputError
        Where the folder or a file is missing or damaged, or where images and labels do not match.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; accepted is the folder that holds t10k-images-idx3-ubyte (or .gz)")
    test_x, test_y, shape = _load_pair(folder, "t10k")
    if train:
        train_x, train_y, train_shape = _load_pair(folder, "train")
        if train_shape != shape:
            raise InputError(
                f"{folder}: training images of {_by(train_shape)} pixels, test images of {_by(shape)}; "
                "accepted are equal sizes"
            )
    else:
        train_x, train_y = test_x[:0], test_y[:0]
    return Dataset("mnist", train_x, train_y, test_x, test_y, shape)


def load_npz(path: Path | str) -> Dataset:
    """A data set of the user's own: an .npz file with arrays `x` [samples, ...] in [0, 1] and `y` [samples] (classes).

    `x` and `y` are the test half. The training half comes from `train_x` and `train_y` where the file has them, else
    it is empty.

    Raises
    ------
    InputError
        Where the file is missing or damaged or an array does not fit.
    """
    path = Path(path)
    accepted = "an .npz file with arrays x [samples, ...] in 0 to 1 and y [samples] of class numbers"
    read_bytes(path, accepted)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("x", "y", "train_x", "train_y") if key in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        raise InputError(f"{path}: not a readable .npz file ({error}); accepted is {accepted}") from error
    for key in ("x", "y"):
        if key not in arrays:
            raise InputError(f"{path}: no array {key}; accepted is {accepted}")
    if ("train_x" in arrays) != ("train_y" in arrays):
        raise InputError(f"{path}: one of train_x and train_y alone; accepted are both or none")
    test_x, test_y, shape = _check_arrays(path, arrays["x"], arrays["y"], "")
    if not len(test_x):
        raise InputError(f"{path}: x holds no sample; accepted is at least one")
    train_x, train_y = test_x[:0], test_y[:0]
    if "train_x" in arrays:
        train_x, train_y, train_shape = _check_arrays(path, arrays["train_x"], arrays["train_y"], "train_")
        if train_shape != shape:
            raise InputError(
                f"{path}: train_x of {_by(train_shape)} values, x of {_by(shape)}; accepted are equal sizes"
            )
    return Dataset(path.stem, train_x, train_y, test_x, test_y, shape)


def _check_arrays(
    path: Path, x: np.ndarray, y: np.ndarray, half: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Values float32 [samples, inputs], labels int64 [samples] and shape of one half of an .npz file."""
    if x.ndim < 2 or x.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: {half}x of shape {list(x.shape)} and type {x.dtype}; accepted are numbers [samples, ...]"
        )
    if y.ndim != 1 or len(y) != len(x) or y.dtype.kind not in "iu" or (y.size and y.min() < 0):
        raise InputError(
            f"{path}: {half}y of shape {list(y.shape)} and type {y.dtype}; "
            f"accepted are {len(x)} class numbers from 0, one per sample of {half}x"
        )
    if x.size and not ((x >= 0) & (x <= 1)).all():
        raise InputError(f"{path}: {half}x from {x.min()} to {x.max()}; accepted is 0 to 1")
    return x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float32), y.astype(np.int64), x.shape[1:]


def load_dataset(
    name: str, path: Path | str | None = None, *, train: bool = True
) -> "Dataset | NMnist | Dvs128 | SequenceTask | MovingDigits | InterceptionTask":
    """The data set called `name`: "digits", "sequence", "moving", "interception"; "mnist", "nmnist" or "dvs128" from
    the folder `path`; "npz" from the file `path`.

    Without `train`, only the test half of MNIST is read.

    Raises
    ------
    InputError
        Where the name is unknown, or the path is needed and missing, or what it leads to is damaged.
    """
    if name == "digits":
        return load_digits_split()
    if name == "sequence":
        return SequenceTask()
    if name == "moving":
        return MovingDigits()
    if name == "interception":
        from .interception.dataset import InterceptionTask  # it needs a network of the zoo, which needs this module

        return InterceptionTask()
    if name not in DATASETS:
        raise InputError(f"data set {name!r}: accepted are {', '.join(DATASETS)}")
    if not path:
        what = (
            "the path of the .npz file" if name == "npz" else "the folder of its files, which are not part of Spikeloom"
        )
        raise InputError(f"data set {name!r} needs {what}")
    if name == "mnist":
        return load_mnist(path, train=train)
    return {"npz": load_npz, "nmnist": read_nmnist, "dvs128": read_dvs128}[name](path)


def _load_pair(folder: Path, half: str) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Values float32 [samples, inputs], labels int64 [samples] and picture shape of one half of an MNIST folder."""
    image_path, label_path = _find(folder, f"{half}-images", "idx3"), _find(folder, f"{half}-labels", "idx1")
    images, labels = load_idx(image_path), load_idx(label_path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise InputError(
            f"{image_path}: shape {list(images.shape)} of {images.dtype}; accepted is [images, rows, columns] of uint8"
        )
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise InputError(f"{label_path}: shape {list(labels.shape)} of {labels.dtype}; accepted is [images] of uint8")
    if len(images) != len(labels):
        raise InputError(f"{label_path}: {len(labels)} labels for {len(images)} images in {image_path.name}")
    values = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return values, labels.astype(np.int64), images.shape[1:]


def _find(folder: Path, stem: str, kind: str) -> Path:
    """The idx file of this name in `folder`, in any of its usual spellings."""
    for separator in "-.":
        for suffix in ("", ".gz"):
            path = folder / f"{stem}{separator}{kind}-ubyte{suffix}"
            if path.is_file():
                return path
    raise InputError(f"{folder}: no {stem}-{kind}-ubyte, plain or .gz; accepted is a folder with the MNIST idx files")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
