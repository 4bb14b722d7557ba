"""Data sets: written files come back, real files are what their makers say, damaged files are named."""

import dataclasses
import gzip
import itertools
import struct

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom.network import datasets


def write_idx(path, array, code=0x08):
    data = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data += array.astype({0x08: ">u1", 0x0B: ">i2", 0x0D: ">f4"}[code]).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder, dot="-", suffix=".gz"):
    rng = np.random.default_rng(1)
    sets = {}
    for half, number in (("train", 7), ("t10k", 4)):
        images, labels = rng.integers(0, 256, (number, 3, 5)), rng.integers(0, 10, number)
        write_idx(folder / f"{half}-images{dot}idx3-ubyte{suffix}", images)
        write_idx(folder / f"{half}-labels{dot}idx1-ubyte{suffix}", labels)
        sets[half] = images, labels
    return sets


def message(function, *arguments, **options):
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    return str(error.value)


def test_digits_split_is_a_partition():
    from sklearn.datasets import load_digits

    data = datasets.load_digits_split()
    pixels, labels = load_digits(return_X_y=True)
    assert data.train_x.shape == (1437, 64)
    assert data.test_x.shape == (360, 64)
    assert data.shape == (8, 8)
    assert data.classes == 10
    assert data.train_x.dtype == np.float32
    rows = [
        (*x, y)
        for x, y in zip(np.concatenate([data.train_x, data.test_x]) * 16, [*data.train_y, *data.test_y], strict=True)
    ]
    assert sorted(rows) == sorted((*x, y) for x, y in zip(pixels, labels, strict=True))
    assert np.bincount(data.test_y).min() > 20  # every class is tested


def test_digits_split_follows_the_seed():
    raw = np.random.Philox(key=5).random_raw(1797)
    test = np.sort(np.argsort(raw)[:360])
    from sklearn.datasets import load_digits

    assert (datasets.load_digits_split(5).test_y == load_digits(return_X_y=True)[1][test]).all()
    assert message(datasets.load_digits_split, -1) == "seed = -1: accepted is an integer from 0 to 18446744073709551615"


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("code", "kind"), [(0x08, np.uint8), (0x0B, np.int16), (0x0D, np.float32)])
def test_idx_round_trip(tmp_path, code, kind, suffix):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    write_idx(tmp_path / f"file{suffix}", array, code)
    read = datasets.load_idx(tmp_path / f"file{suffix}")
    assert read.dtype == kind
    assert (read == array).all()


@pytest.mark.parametrize(("dot", "suffix"), [("-", ".gz"), (".", ""), ("-", "")])
def test_mnist_folder(tmp_path, dot, suffix):
    sets = write_mnist(tmp_path, dot, suffix)
    data = datasets.load_mnist(tmp_path)
    assert data.shape == (3, 5)
    for x, y, half in ((data.train_x, data.train_y, "train"), (data.test_x, data.test_y, "t10k")):
        assert (np.rint(x * 255).reshape(sets[half][0].shape) == sets[half][0]).all()
        assert (y == sets[half][1]).all()
    half = datasets.load_dataset("mnist", tmp_path, train=False)
    assert isinstance(half, datasets.Dataset)
    assert len(half.train_x) == 0
    assert (half.test_x == data.test_x).all()


def test_real_mnist(data_folder):
    data = datasets.load_mnist(data_folder / "mnist", train=False)
    assert data.test_x.shape == (10000, 784)
    # published class counts of the test set
    assert np.bincount(data.test_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.test_y[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(data.test_x.mean() - 0.1325) < 1e-4
    assert data.test_x.max() == 1


def test_real_nmnist(data_folder):
    recordings = datasets.read_nmnist(data_folder / "nmnist")
    assert len(recordings) == 1000
    assert set(recordings.labels.tolist()) == set(range(10))
    for index in (0, 1, 999):
        recording = recordings[index]
        assert recording.label == recordings.labels[index]
        assert (np.diff(recording.times_us) >= 0).all()
        assert 0.2e6 < recording.times_us[-1] < 0.34e6  # three saccades of about 0.1 s
        assert recording.inputs == 2 * 34 * 34
        assert 0 <= recording.addresses.min() <= recording.addresses.max() < recording.inputs
        assert 0.3 < recording.polarity.mean() < 0.7
        # the digit lies in the middle of the sensor
        assert 10 < recording.x.mean() < 24
        assert 10 < recording.y.mean() < 24


def test_nmnist_format(tmp_path):
    events = [(33, 0, 1, 0), (5, 7, 0, 300), (1, 2, 1, 2**23 - 1)]
    data = b"".join(
        struct.pack(">BBI", x, y, p << 23 | t)[:2] + struct.pack(">I", p << 23 | t)[1:] for x, y, p, t in events
    )
    (tmp_path / "12.bs2").write_bytes(data)
    (tmp_path / "labels.txt").write_text("#sample #class\n\n12\t4\n")
    recordings = datasets.load_dataset("nmnist", tmp_path)
    assert isinstance(recordings, datasets.NMnist)
    (recording,) = recordings
    assert recording.label == 4
    assert list(zip(recording.x, recording.y, recording.polarity, recording.times_us, strict=True)) == events
    assert recording.addresses.tolist() == [1156 + 33, 7 * 34 + 5, 1156 + 2 * 34 + 1]


def test_nmnist_halves(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(f"{number} {number % 10}" for number in range(12)))
    for number in range(12):
        (tmp_path / f"{number}.bs2").write_bytes(bytes([number, 0, 0, 0, 0]))
    recordings = datasets.read_nmnist(tmp_path)
    parts = {}
    for train in (True, False):
        given, labels = recordings.half(train=train)
        parts[train] = [int(one.x[0]) for one in given]
        assert labels.tolist() == [number % 10 for number in parts[train]]
    assert parts == {False: [0, 5, 10], True: [1, 2, 3, 4, 6, 7, 8, 9, 11]}
    assert [int(one.x[0]) for one in recordings.half(train=True, count=2)[0]] == [1, 2]
    folds = [dataclasses.replace(recordings, fold=fold) for fold in range(5)]
    tested = [[int(one.x[0]) for one in fold.half(train=False)[0]] for fold in folds]
    assert tested[2] == [2, 7]
    assert sorted(itertools.chain(*tested)) == list(range(12))
    with pytest.raises(InputError, match="fold 5 of N-MNIST: accepted are 0 to 4"):
        dataclasses.replace(recordings, fold=5)


def test_damaged_nmnist(tmp_path):
    assert message(datasets.read_nmnist, tmp_path) == (
        f"{tmp_path}/labels.txt: No such file or directory; "
        "accepted is a list of 'id class' lines beside the .bs2 files"
    )
    labels = tmp_path / "labels.txt"
    labels.write_text("#nothing\n")
    assert message(datasets.read_nmnist, tmp_path) == f"{labels}: no recordings; accepted are lines 'id class'"
    labels.write_text("1 two\n")
    assert message(datasets.read_nmnist, tmp_path) == f"{labels}: line 1: '1 two'; accepted is 'id class', two integers"
    labels.write_text("1 2\n3 4\n")
    assert message(datasets.read_nmnist, tmp_path) == (
        f"{labels}: 2 of 2 recordings are not in the folder, first 1.bs2"
    )
    for name in ("1.bs2", "3.bs2"):
        (tmp_path / name).write_bytes(b"1234567")
    assert message(lambda: datasets.read_nmnist(tmp_path)[1]) == (
        f"{tmp_path}/3.bs2: 7 bytes; accepted is a positive multiple of 5, 5 per event"
    )
    (tmp_path / "1.bs2").write_bytes(bytes([3, 3, 0, 0, 0, 34, 0, 0, 0, 0]))
    assert message(lambda: datasets.read_nmnist(tmp_path)[0]) == (
        f"{tmp_path}/1.bs2: event 1 at x = 34, y = 0; accepted are 0 to 33"
    )


def test_damaged_idx(tmp_path):
    path = tmp_path / "file"
    assert message(datasets.load_idx, path) == (
        f"{path}: No such file or directory; accepted is an idx file, plain or gzip"
    )
    path.write_bytes(b"PK\x03\x04")
    assert message(datasets.load_idx, path) == f"{path}: not an idx file, it starts with 50 4b 03 04"
    path.write_bytes(b"")
    assert message(datasets.load_idx, path) == f"{path}: not an idx file, it starts with nothing"
    write_idx(path, np.zeros((2, 3)))
    path.write_bytes(path.read_bytes()[:-1])
    assert message(datasets.load_idx, path) == f"{path}: 17 bytes; its header says 18 (shape [2, 3], type uint8)"
    path.write_bytes(gzip.compress(bytes(1000))[:-9])
    assert message(datasets.load_idx, path) == (
        f"{path}: damaged gzip file (Compressed file ended before the end-of-stream marker was reached); "
        "accepted is an idx file, plain or gzip"
    )


def test_damaged_mnist(tmp_path):
    absent = tmp_path / "absent"
    assert message(datasets.load_mnist, absent) == (
        f"{absent}: not a folder; accepted is the folder that holds t10k-images-idx3-ubyte (or .gz)"
    )
    assert message(datasets.load_mnist, tmp_path) == (
        f"{tmp_path}: no t10k-images-idx3-ubyte, plain or .gz; accepted is a folder with the MNIST idx files"
    )
    write_mnist(tmp_path, suffix="")
    path = tmp_path / "train-labels-idx1-ubyte"
    write_idx(path, np.zeros(6))
    assert message(datasets.load_mnist, tmp_path) == f"{path}: 6 labels for 7 images in train-images-idx3-ubyte"
    write_idx(path, np.zeros((7, 1)))
    assert message(datasets.load_mnist, tmp_path) == f"{path}: shape [7, 1] of uint8; accepted is [images] of uint8"
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.zeros((7, 15)))
    assert message(datasets.load_mnist, tmp_path) == (
        f"{path}: shape [7, 15] of uint8; accepted is [images, rows, columns] of uint8"
    )
    write_idx(path, np.zeros((7, 5, 3)))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(7))
    assert message(datasets.load_mnist, tmp_path) == (
        f"{tmp_path}: training images of 5 x 3 pixels, test images of 3 x 5; accepted are equal sizes"
    )


def test_npz(tmp_path):
    path = tmp_path / "own.npz"
    x, y = np.linspace(0, 1, 24).reshape(4, 2, 3), np.array([0, 1, 1, 2])
    np.savez(path, x=x, y=y)
    data = datasets.load_dataset("npz", path)
    assert isinstance(data, datasets.Dataset)
    assert data.shape == (2, 3)
    assert (data.test_x == x.reshape(4, 6).astype(np.float32)).all()
    assert (data.test_y == y).all()
    assert data.train_x.shape == (0, 6)
    np.savez(path, x=x, y=y, train_x=x[:2], train_y=y[:2])
    assert len(datasets.load_npz(path).train_y) == 2


def test_damaged_npz(tmp_path):
    path = tmp_path / "own.npz"
    accepted = "an .npz file with arrays x [samples, ...] in 0 to 1 and y [samples] of class numbers"
    assert message(datasets.load_npz, path) == f"{path}: No such file or directory; accepted is {accepted}"
    path.write_bytes(b"nonsense")
    assert message(datasets.load_npz, path).startswith(f"{path}: not a readable .npz file (")
    np.savez(path, x=np.zeros((2, 3)))
    path.write_bytes(path.read_bytes()[:-30])
    assert message(datasets.load_npz, path) == (
        f"{path}: not a readable .npz file (File is not a zip file); accepted is {accepted}"
    )
    np.savez(path, x=np.zeros((2, 3)))
    assert message(datasets.load_npz, path) == f"{path}: no array y; accepted is {accepted}"
    np.savez(path, x=np.full((2, 3), 16.0), y=np.zeros(2, int))
    assert message(datasets.load_npz, path) == f"{path}: x from 16.0 to 16.0; accepted is 0 to 1"
    np.savez(path, x=np.zeros((2, 3)), y=np.zeros(3, int))
    assert message(datasets.load_npz, path) == (
        f"{path}: y of shape [3] and type int64; accepted are 2 class numbers from 0, one per sample of x"
    )
    np.savez(path, x=np.zeros((2, 3)), y=np.zeros(2, int), train_x=np.zeros((2, 3)))
    assert message(datasets.load_npz, path) == f"{path}: one of train_x and train_y alone; accepted are both or none"


def test_names():
    assert message(datasets.load_dataset, "cifar") == (
        "data set 'cifar': accepted are digits, mnist, nmnist, dvs128, npz, sequence, moving, interception"
    )
    assert message(datasets.load_dataset, "mnist") == (
        "data set 'mnist' needs the folder of its files, which are not part of Spikeloom"
    )
    digits = datasets.load_dataset("digits")
    assert isinstance(digits, datasets.Dataset)
    assert digits.name == "digits"
