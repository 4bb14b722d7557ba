"""Files that may be packed by gzip, whatever their name."""

import gzip
import zlib
from pathlib import Path

from spikeloom.errors import InputError

__all__ = ["plain_file", "read_packed"]


def read_packed(path: Path, what: str, accepted: str) -> str:
    """The text of a file, unpacked; `what` it is and what is `accepted` are for the messages.

    Raises
    ------
    InputError
        If it cannot be read, or is a damaged gzip file.
    """
    try:
        return _unpacked(path).decode("utf-8", errors="replace")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: {what} cannot be read: {error.strerror or error}; give {accepted}") from error


def plain_file(path: Path, folder: Path) -> Path:
    """The file for tools that cannot unpack: itself, or its contents in `folder`."""
    with path.open("rb") as file:
        if file.read(2) != _MAGIC:
            return path.absolute()
    plain = folder / path.name.removesuffix(".gz")
    plain.write_bytes(_unpacked(path))
    return plain


_MAGIC = b"\x1f\x8b"


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == _MAGIC else data
