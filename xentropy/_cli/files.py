"""Reads the bytes of files and pipes as text, and replaces files without a moment at which one is incomplete."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .errors import InputError
from .text import printable

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_OTHER_KINDS = {
    b"PK\x03\x04": "a spreadsheet or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"(\xb5/\xfd": "compressed with zstd",
    b"%PDF": "a PDF",
    b"\x80\x04": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"SQLite": "a database",
}
_MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # it begins with the mark of UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


def read_bytes(source: str) -> bytes:
    """All bytes of a file or a pipe, of standard input for ``-``, uncompressed if they are a gzip file."""
    try:
        if source == "-":
            if sys.stdin is None:
                raise InputError("standard input is closed, so DATA cannot be -")
            data = sys.stdin.buffer.read()
        elif Path(source).is_dir():
            raise InputError(f"{printable(source)} is a folder, not a table")
        else:
            data = Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {printable(source)}: {error.strerror}") from None
    except ValueError as error:  # a null byte in the name
        raise InputError(f"cannot read {printable(source)}: {error}") from None
    if data.startswith(_GZIP):
        data = _uncompressed(data, source)
    for start, kind in _OTHER_KINDS.items():
        if data.startswith(start):
            raise InputError(f"{printable(source)} is {kind}: save the table as CSV or Parquet")
    return data


def _uncompressed(data: bytes, source: str) -> bytes:
    import gzip

    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{printable(source)} is a gzip file that cannot be uncompressed: {error}") from None


def is_parquet(data: bytes) -> bool:
    return data.startswith(_PARQUET)


def as_utf8(data: bytes, source: str) -> tuple[bytes, str | None]:
    """The text in UTF-8 without a mark, and a note if that took a guess."""
    name = printable(source)
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    note = None
    if encoding is None:
        encoding, note = _guess(data, name)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} begins as {encoding} text, but cannot be read as that (byte {error.start}, {error.reason})"
        ) from None
    if "\0" in text[:1_000_000]:
        raise InputError(f"{name} is not text: it holds bytes of zero")
    if encoding == "utf-8":
        return data, note
    return text.encode("utf-8", "surrogatepass"), note or (
        None if encoding == "utf-8-sig" else f"{name} is read as {encoding.upper()} text."
    )


def _guess(data: bytes, name: str) -> tuple[str, str | None]:
    start = data[:4096]
    for encoding, zeros, others in (("utf-16-le", start[1::2], start[::2]), ("utf-16-be", start[::2], start[1::2])):
        # UTF-16 of a European language: every second byte is zero, and the others hold the letters
        if zeros.count(0) > 0.7 * len(zeros) and 0 not in others and len(data) % 2 == 0:
            return encoding, f"{name} is read as UTF-16 text, since every second byte is zero."
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if 0 in data:
            raise InputError(
                f"{name} is not UTF-8 text (byte {error.start}, {error.reason}), and it holds bytes of zero: save the "
                "table as CSV in UTF-8"
            ) from None
        line = data.count(b"\n", 0, error.start) + 1
        note = f"{name} is not UTF-8 text (line {line}); it is read as Latin-1 (Windows-1252)."
        return _latin(data), note
    return "utf-8", None


def _latin(data: bytes) -> str:
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


# --- output -----------------------------------------------------------------------------------------------------------


def check_output(option: str, path: str, source: str | None = None) -> None:
    """Raise unless `path` can be written and is not the file `source`. This comes before any work."""
    output = Path(path)
    shown = printable(path)
    try:
        mode = output.stat().st_mode
    except FileNotFoundError:
        mode = None
    except ValueError as error:
        raise InputError(f"{option} {shown}: {error}") from None
    except OSError as error:
        raise InputError(f"{option} {shown}: {error.strerror}") from None
    if mode is not None and stat.S_ISDIR(mode):
        raise InputError(f"{option} {shown} is a folder: name a file in it")
    if mode is not None and not stat.S_ISREG(mode):
        raise InputError(f"{option} {shown} is not a regular file, and it would be replaced by one: name another file")
    target = output.resolve()
    if not target.parent.is_dir():
        raise InputError(f"{option} {shown}: there is no folder {printable(target.parent)}")
    for place in (target.parent, *([target] if mode is not None else [])):
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    if source not in (None, "-") and mode is not None and Path(str(source)).exists() and target.samefile(str(source)):
        raise InputError(f"{option} {shown} would overwrite {printable(str(source))}")


def replace_file(path: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Write the file at `path` with `write`. Until all is written, what was there stays.

    A symbolic link stays one, and its target is replaced. The mode of an existing file is kept.
    """
    target = Path(path).resolve()
    try:
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode):  # it has become something else since it was checked
            raise OSError(errno.EINVAL, "Not a regular file", path)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    handle, part = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(part, stat.S_IMODE(mode))
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError):
            error.filename, error.filename2 = path, None
        raise
