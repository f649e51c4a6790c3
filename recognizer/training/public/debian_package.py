"""Files in a Debian package (deb(5)): an ``ar`` archive that holds a tar of what would be installed."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from pathlib import Path
from typing import Final

from recognizer.training.public.git_mirror import MOST_BYTES, AbsentFile, MirrorError, is_safe_path, matching_paths

PREFIX: Final = "debian/"
"""Of a package's name where a repository's ``owner/name`` is expected."""
_MAGIC: Final = b"!<arch>\n"
_HEADER: Final = 60


class DebianPackage:
    """The files of one package, which is read whole (at most 64 MiB).

    Raises
    ------
    MirrorError
        It is no Debian package, or packed in a way that Python cannot unpack.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        damaged = MirrorError(f"The package {path.name} is damaged: no tar of files could be read from it.")
        try:
            if path.stat().st_size > MOST_BYTES:
                raise damaged
            contents = path.read_bytes()
            self.state = hashlib.sha256(contents).hexdigest()
            self._files = _files(_member(contents, b"data.tar"))
        except (OSError, EOFError, ValueError, tarfile.TarError) as error:
            raise damaged from error

    def matching(self, pattern: str) -> list[tuple[str, re.Match[str]]]:
        """See :class:`~recognizer.training.public.git_mirror.Archive`."""
        return matching_paths(sorted(self._files), pattern)

    def identity(self, path: str) -> str:
        """See :class:`~recognizer.training.public.git_mirror.Archive`."""
        return hashlib.sha256(self._files[path]).hexdigest() if path in self._files else ""

    def read(self, path: str) -> bytes:
        """See :class:`~recognizer.training.public.git_mirror.Archive`."""
        if path not in self._files:
            raise AbsentFile("absent from the package")
        return self._files[path]

    def close(self) -> None:
        """Nothing is held open."""


def package_file(name: str, mirrors: Path) -> Path:
    """Return the newest file of the package `name` (``debian/...``) in the folder of mirrors.

    Raises
    ------
    MirrorError
        There is none.
    """
    package = name.removeprefix(PREFIX)
    found = sorted(mirrors.glob(f"{package}_*.deb"))
    if not found:
        raise MirrorError(f"There is no package {package}_*.deb among the mirrors: apt-get download {package}")
    return found[-1]


def _member(contents: bytes, prefix: bytes) -> bytes:
    """Return the first member of an ``ar`` archive whose name begins with `prefix`; raise ValueError if none does."""
    if not contents.startswith(_MAGIC):
        raise ValueError("no ar archive")
    position = len(_MAGIC)
    while position + _HEADER <= len(contents):
        header = contents[position : position + _HEADER]
        size = int(header[48:58])
        if size < 0:
            raise ValueError("a member of negative size")
        begin = position + _HEADER
        if header.startswith(prefix):
            return contents[begin : begin + size]
        position = begin + size + size % 2
    raise ValueError("no such member")


def _files(tar: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    room = 8 * MOST_BYTES
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if not (member.isfile() and is_safe_path(path)):
                continue
            room -= member.size
            if room < 0:
                raise ValueError("more than a package of speech can hold")
            source = archive.extractfile(member)
            files[path] = source.read() if source else b""
    return files
