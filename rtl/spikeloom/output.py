"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

__all__ = ["MARKER", "check_replaceable", "replace_folder", "write_atomic"]

MARKER = ".spikeloom"
"""A folder that holds this file was made by Spikeloom and may be replaced by it."""


def write_atomic(path: Path | str, content: str | bytes) -> Path:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Raises
    ------
    InputError
        If the file cannot be written (no space, no permission); the old file is then untouched.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):  # after a Ctrl-C as after an error
            temporary.unlink()
    return path


def check_replaceable(path: Path | str) -> None:
    """Raise InputError if `path` exists and Spikeloom did not make it; called before work whose result goes there."""
    path = Path(path)
    if path.exists() and not (path / MARKER).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"{path}: exists and was not made by Spikeloom (no {MARKER} inside); "
            "choose another folder, or move this one away"
        )


@contextlib.contextmanager
def replace_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path`, as a whole, when the block ends without an exception.

    Raises
    ------
    InputError
        If `path` exists and Spikeloom did not make it, or if the disk refuses.
    """
    path = Path(path)
    check_replaceable(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o755)
        (temporary / MARKER).write_text("")
        yield temporary
        _put_in_place(temporary, path)
    except OSError as error:
        if temporary is None or _is_about_output(error, temporary):
            raise InputError(f"{path}: cannot be written: {error.strerror or error}; nothing was changed") from error
        raise  # something else in the block failed, such as reading an input
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(new: Path, path: Path) -> None:
    """Put a folder at `path`; what was there before goes away, or comes back if this is stopped half way."""
    if not path.exists():
        os.replace(new, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    try:
        os.replace(path, aside / "old")
        os.replace(new, path)
    except BaseException:
        if not path.exists():
            os.replace(aside / "old", path)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _is_about_output(error: OSError, temporary: Path) -> bool:
    """Say whether an error came from writing into the temporary folder (a full disk does not name a file)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        return True
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
    return any(str(name).startswith(str(temporary)) for name in names)
