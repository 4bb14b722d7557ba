"""Recordings of a DVS128: bytes written here by the formats' documents, and what is refused."""

import struct

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom.network.datasets import load_dataset
from spikeloom.network.dvs128 import read_dvs128

HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# created Thu Jan 01 2015\r\n"


def aedat2(events, header=HEADER):
    """(time, x bits, y bits, darker) of each event."""
    return header + b"".join(struct.pack(">II", y << 8 | x << 1 | darker, t) for t, x, y, darker in events)


def aedat3(packets):
    """(kind, overflow, [(time, x, y, polarity, valid)]) of each packet."""
    data = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for kind, overflow, events in packets:
        data += struct.pack("<HHIIIIII", kind, 1, 8, 4, overflow, len(events), len(events), len(events))
        for t, x, y, polarity, valid in events:
            data += struct.pack("<II", x << 17 | y << 2 | polarity << 1 | valid, t)
    return data


def one(tmp_path, name, data):
    folder = tmp_path / "cat"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    (recording,) = read_dvs128(tmp_path)
    return recording


def events_of(recording):
    return list(zip(recording.times_us, recording.x, recording.y, recording.polarity, strict=True))


def test_aedat2(tmp_path):
    special = struct.pack(">II", 0x8000 | 5 << 8, 77)  # of an external input: no pixel
    data = aedat2([(1000, 0, 0, 0), (1005, 127, 3, 1)]) + special + aedat2([(2**32 - 1, 2, 127, 0)], b"")
    recording = one(tmp_path, "cifar10_cat_0.aedat", data)
    assert events_of(recording) == [(0, 127, 127, 1), (5, 124, 0, 0), (2**32 - 1 - 1000, 0, 125, 1)]
    assert recording.addresses.tolist() == [(128 + 127) * 128 + 127, 124, (128 + 125) * 128]
    assert recording.inputs == 2 * 128 * 128


def test_aedat3(tmp_path):
    packets = [
        (1, 0, [(10, 3, 4, 1, 1), (11, 9, 9, 1, 0)]),  # the second one is not valid
        (0, 0, [(12, 1, 1, 1, 1)]),  # another kind of events
        (1, 1, [(0, 127, 0, 0, 1)]),
    ]
    recording = one(tmp_path, "user01.aedat", aedat3(packets))
    assert events_of(recording) == [(0, 3, 4, 1), (2**31 - 10, 127, 0, 0)]


def test_npz(tmp_path):
    folder = tmp_path / "dog"
    folder.mkdir()
    arrays = {"t": [40, 20], "x": [1, 2], "y": [3, 4], "p": [True, False]}
    np.savez(folder / "a.npz", **{key: np.array(value) for key, value in arrays.items()})
    (recording,) = read_dvs128(tmp_path)
    assert events_of(recording) == [(20, 1, 3, 1), (0, 2, 4, 0)]


def test_classes_and_halves(tmp_path):
    for label, (name, count) in enumerate({"airplane": 12, "bird": 3}.items()):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{name}_{number}.aedat").write_bytes(aedat2([(0, number, label, 0)]))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no recording")
    data = load_dataset("dvs128", tmp_path)
    assert data.classes == ("airplane", "bird")
    assert data.labels.tolist() == [0, 1] * 3 + [0] * 9
    files = [path.stem for path in data.files]
    assert files[:4] == ["airplane_0", "bird_0", "airplane_1", "bird_1"]
    assert files[-2:] == ["airplane_10", "airplane_11"]  # 9 before 10
    recordings, labels = data.half(train=False)
    assert [recording.label for recording in recordings] == labels.tolist() == [0, 1, 0]
    assert len(data.half(train=True)[1]) == 12


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.aedat", b"#!AER-DAT4.0\r\n", "starts with b'#!AER-DAT4.0'; accepted are AEDAT 2.0 or 3.1"),
        ("a.aedat", b"", "starts with b''; accepted are AEDAT"),
        ("a.aedat", HEADER + b"1234567", "7 bytes of events; accepted is a multiple of 8"),
        ("a.aedat", HEADER, "no event of a pixel; accepted is at least one"),
        ("a.aedat", aedat3([(1, 0, [(1, 128, 0, 0, 1)])]), "event 0 has x = 128; accepted are 0 to 127"),
        ("a.aedat", aedat3([(1, 0, [(1, 1, 1, 0, 1)])])[:-1], "byte 0 of its packets: damaged, or cut off"),
        ("a.aedat", aedat3([]) + b"12", "byte 0 of its packets: damaged, or cut off"),
        ("a.npz", b"PK", "not a readable recording"),
    ],
)
def test_damaged_recordings_are_refused(tmp_path, name, data, message):
    with pytest.raises(InputError, match=rf"cat/{name}: .*{message}"):
        one(tmp_path, name, data)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"t": [1], "x": [1], "y": [1]}, "not a readable recording .*p"),
        ({"t": [1], "x": [1], "y": [1, 2], "p": [1]}, r"t, x, y, p of int64 \[1\], int64 \[1\], int64 \[2\]"),
        ({"t": [1.5], "x": [1], "y": [1], "p": [1]}, r"of float64 \[1\].*accepted are lists of integers"),
        ({"t": [1], "x": [1], "y": [-1], "p": [1]}, "event 0 has y = -1; accepted are 0 to 127"),
        ({"t": [1], "x": [1], "y": [1], "p": [2]}, "event 0 has p = 2; accepted are 0 to 1"),
    ],
)
def test_damaged_npz_is_refused(tmp_path, arrays, message):
    (tmp_path / "cat").mkdir()
    np.savez(tmp_path / "cat" / "a.npz", **{key: np.array(value) for key, value in arrays.items()})
    with pytest.raises(InputError, match=message):
        read_dvs128(tmp_path)[0]


def test_a_folder_without_recordings_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no recordings; accepted is a folder with a folder for each class"):
            read_dvs128(folder)
