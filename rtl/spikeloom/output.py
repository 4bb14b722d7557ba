"""Files that are written whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

__all__ = ["MARKER", "replace_folder", "write_atomic"]

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


@contextlib.contextmanager
def replace_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path`, as a whole, when the block ends without an exception.

    Raises
    ------
    InputError
        If `path` exists and Spikeloom did not make it, or if the disk refuses.
    """
    path = Path(path)
    if path.exists() and not (path / MARKER).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"{path}: exists and was not made by Spikeloom (no {MARKER} inside); "
            "choose another folder, or move this one away"
        )
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o755)
        (temporary / MARKER).write_text("")
        yield temporary
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            os.replace(path, old / "old")
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
