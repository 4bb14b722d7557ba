"""Files that are written whole or not at all: a full disk is /dev/full and Ctrl-C a real SIGINT."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spikeloom import output
from spikeloom.errors import InputError
from spikeloom.output import MARKER, replace_folder, write_atomic

STOPPED = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what runs in the background
from spikeloom.output import replace_folder, write_atomic
with replace_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("half way", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def made_folder(path: Path, content: str = "old") -> Path:
    with replace_folder(path) as folder:
        (folder / "content").write_text(content)
    return path


def test_file_is_written_with_its_folders(tmp_path):
    path = write_atomic(tmp_path / "a" / "b.txt", "text µ")
    assert path.read_bytes() == "text µ".encode()
    assert write_atomic(path, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["b.txt"]


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "kept.txt", "old")
    partial = Path.write_bytes

    def to_full_disk(self, data):
        partial(self, data[:1])  # the disk takes a part, then no more
        with open("/dev/full", "wb") as full:
            return full.write(data)

    monkeypatch.setattr(Path, "write_bytes", to_full_disk)
    with pytest.raises(InputError) as caught:
        write_atomic(path, "new")
    assert str(caught.value) == f"{path}: cannot be written: No space left on device; nothing was changed"
    assert caught.value.exit_code == 2
    assert names(tmp_path) == ["kept.txt"]
    assert path.read_text() == "old"


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/x: cannot be written: .*; nothing was changed$"):
        write_atomic(tmp_path / "file" / "x", "new")
    with (
        pytest.raises(InputError, match=r"file/x: cannot be written: .*; nothing was changed$"),
        replace_folder(tmp_path / "file" / "x"),
    ):
        pass


@pytest.mark.parametrize("what", ["new", "empty", "ours"])
def test_folder_takes_its_place(tmp_path, what):
    path = tmp_path / "build" / "net"
    if what == "empty":
        path.mkdir(parents=True)
    elif what == "ours":
        made_folder(path)
        (path / "left over").write_text("must go")
    with replace_folder(path) as folder:
        assert folder.parent == path.parent  # a rename on the same disk, so the swap cannot be half a copy
        (folder / "content").write_text("new")
        assert not (path / "content").exists() or (path / "content").read_text() == "old"
    assert names(path) == [MARKER, "content"]
    assert (path / "content").read_text() == "new"
    assert names(path.parent) == ["net"]
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_foreign_folder_is_refused(tmp_path, kind):
    path = tmp_path / "thesis"
    if kind == "folder":
        path.mkdir()
        (path / "chapter1.tex").write_text("years of work")
    else:
        path.write_text("years of work")
    with pytest.raises(InputError) as caught, replace_folder(path):
        pytest.fail("the block must not run")
    assert str(caught.value) == (
        f"{path}: exists and was not made by Spikeloom (no .spikeloom inside); choose another folder, "
        "or move this one away"
    )
    assert names(tmp_path) == ["thesis"]
    assert (path / "chapter1.tex" if kind == "folder" else path).read_text() == "years of work"


def test_full_disk_leaves_the_old_folder(tmp_path):
    path = made_folder(tmp_path / "net")
    with pytest.raises(InputError) as caught, replace_folder(path) as folder:
        (folder / "content").write_text("new")
        (folder / "big").symlink_to("/dev/full")
        (folder / "big").write_text("new")
    assert str(caught.value) == f"{path}: cannot be written: No space left on device; nothing was changed"
    assert names(tmp_path) == ["net"]
    assert (path / "content").read_text() == "old"


def test_an_error_inside_leaves_the_old_folder_and_is_passed_on(tmp_path):
    path = made_folder(tmp_path / "net")
    with pytest.raises(ValueError, match="inner"), replace_folder(path) as folder:
        (folder / "content").write_text("new")
        raise ValueError("inner")
    with pytest.raises(FileNotFoundError, match=r"input\.nir"), replace_folder(path):
        (tmp_path / "input.nir").read_bytes()  # not an error of writing, and not to be reported as one
    assert names(tmp_path) == ["net"]
    assert (path / "content").read_text() == "old"


@pytest.mark.parametrize("before", ["nothing", "ours"])
def test_ctrl_c_leaves_nothing_half_written(tmp_path, before):
    path = tmp_path / "net"
    if before == "ours":
        made_folder(path)
    environment = {**os.environ, "PYTHONPATH": str(Path(output.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        assert any(name.startswith(".net.") for name in names(tmp_path))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert names(tmp_path) == ([] if before == "nothing" else ["net"])
    assert before == "nothing" or (path / "content").read_text() == "old"


@pytest.mark.parametrize("stopped_after", [0, 1])
def test_stopped_between_the_two_renames(tmp_path, monkeypatch, stopped_after):
    path, rename, calls = made_folder(tmp_path / "net"), os.replace, []

    def stopping(source, target):
        calls.append(source)
        if len(calls) == stopped_after + 1:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt), replace_folder(path) as folder:
        (folder / "content").write_text("new")
    assert len(calls) > stopped_after
    assert names(tmp_path) == ["net"]
    assert (path / "content").read_text() == "old"
