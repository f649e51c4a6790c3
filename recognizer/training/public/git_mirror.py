"""Files of git repositories, read from their object stores alone: no work tree, no network."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

MOST_BYTES: Final = 64 << 20
"""Larger files are no utterance."""
_HEAD: Final = "HEAD"


class MirrorError(ValueError):
    """A mirror is not there or cannot be listed; the message is one whole sentence."""


class AbsentFile(ValueError):
    """One file cannot be had; the message is a noun phrase that says why, to be counted."""


class Archive(Protocol):
    """Named files with their contents, all of one state."""

    name: str
    state: str
    """A commit, or a package's checksum."""

    def matching(self, pattern: str) -> list[tuple[str, re.Match[str]]]:
        """Return the paths that `pattern` matches in full, in order, each with its match."""
        ...

    def identity(self, path: str) -> str:
        """Return what only files with the same contents have in common; empty when that is unknown."""
        ...

    def read(self, path: str) -> bytes:
        """Return a file's contents; raise AbsentFile when they cannot be had."""
        ...

    def close(self) -> None:
        """Release what reading holds."""
        ...


def matching_paths(paths: list[str], pattern: str) -> list[tuple[str, re.Match[str]]]:
    """Return those of `paths` (sorted) that `pattern` matches in full, with their matches."""
    rule = re.compile(pattern, re.ASCII)
    return [(path, match) for path in paths if (match := rule.fullmatch(path))]


def is_safe_path(path: str) -> bool:
    """Whether a path may be joined to a folder and written into a table."""
    return path.isprintable() and not path.startswith("/") and ".." not in path.split("/")


class GitMirror:
    """One commit of one repository.

    Parameters
    ----------
    name : str
        ``owner/name``.
    git_dir : Path
    commit : str
        The commit that the table of sources was made for, which need not be on any branch; when the mirror lacks
        it, or it is empty, the newest commit is read, and `state` differs.

    Raises
    ------
    MirrorError
        Neither commit can be read.
    """

    def __init__(self, name: str, git_dir: Path, commit: str = "") -> None:
        self.name = name
        # A partial clone would fetch what it lacks, and a repository's own settings could name programs to do it with.
        self._git = ["git", "-c", "protocol.allow=never", "-c", "core.fsmonitor=false", f"--git-dir={git_dir}"]
        self._environment = dict(
            os.environ, GIT_NO_LAZY_FETCH="1", GIT_TERMINAL_PROMPT="0", GIT_OPTIONAL_LOCKS="0"
        )
        self._reader: subprocess.Popen[bytes] | None = None
        wanted = (commit, _HEAD) if commit in self._present else (_HEAD,)
        for revision in wanted:
            found = self._run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
            listing = None if found is None else self._run("ls-tree", "-r", "-z", found.decode().strip())
            if found is not None and listing is not None:
                self.state = found.decode().strip()
                self._objects = _regular_files(listing)
                return
        raise MirrorError(f"The mirror of github.com/{name} is damaged: git cannot list its newest commit.")

    def matching(self, pattern: str) -> list[tuple[str, re.Match[str]]]:
        """See :class:`Archive`."""
        return matching_paths(sorted(self._objects), pattern)

    def identity(self, path: str) -> str:
        """See :class:`Archive`."""
        return self._objects.get(path, "")

    def read(self, path: str) -> bytes:
        """See :class:`Archive`. The contents are held against their name's checksum."""
        name = self._objects.get(path, "")
        size = self._present.get(name)
        if size is None:
            raise AbsentFile("absent from the mirror")
        if size > MOST_BYTES:
            raise AbsentFile("too large a file")
        contents = self._contents(name)
        if contents is None:
            raise AbsentFile("damaged in the mirror")
        return contents

    def close(self) -> None:
        """End the reading process."""
        if self._reader is not None:
            self._reader.communicate()
            self._reader = None

    def _contents(self, name: str) -> bytes | None:
        if self._reader is None:
            self._reader = subprocess.Popen(
                [*self._git, "cat-file", "--batch"],
                env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        asked, answer = self._reader.stdin, self._reader.stdout
        assert asked is not None
        assert answer is not None
        try:
            asked.write(f"{name}\n".encode())
            asked.flush()
            head = answer.readline().split()
            if len(head) == 2:  # "<name> missing"
                return None
            size = int(head[2])
            contents = answer.read(size)
            whole = answer.read(1) == b"\n"
        except (OSError, IndexError, ValueError):
            whole, contents = False, b""
        if not whole:
            # Git ends when it meets a damaged object; the next file gets a new process.
            self._reader.kill()
            self._reader.communicate()
            self._reader = None
            return None
        checksum = hashlib.sha1 if len(name) == 40 else hashlib.sha256
        return contents if checksum(b"blob %d\0" % size + contents).hexdigest() == name else None

    @cached_property
    def _present(self) -> dict[str, int]:
        """Sizes of the objects that are here: asking for another would try to fetch it."""
        listing = self._run("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objectsize)") or b""
        rows = (line.split() for line in listing.decode("ascii", "replace").splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def _run(self, *arguments: str) -> bytes | None:
        done = subprocess.run([*self._git, *arguments], env=self._environment, capture_output=True, check=False)
        return None if done.returncode else done.stdout


def _regular_files(listing: bytes) -> dict[str, str]:
    """Return path to object name of ``ls-tree -r -z``: no links, no submodules, no paths that could do harm."""
    objects = {}
    for entry in listing.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        path = name.decode("utf-8", "replace")
        if head.startswith(b"100") and is_safe_path(path):
            objects[path] = head.split()[2].decode()
    return objects


def git_directory(repository: str, mirrors: Path) -> Path:
    """Return the git directory of ``owner/name`` below `mirrors`.

    Raises
    ------
    MirrorError
        There is none.
    """
    for folder in (mirrors / repository.replace("/", "+"), mirrors / repository):
        for place in (folder / "repo" / ".git", folder / "repo", folder / ".git", folder):
            if (place / "HEAD").is_file() and (place / "objects").is_dir():
                return place
    raise MirrorError(
        f"There is no mirror of github.com/{repository}: git clone --bare https://github.com/{repository} "
        f"{repository.replace('/', '+')}"
    )
