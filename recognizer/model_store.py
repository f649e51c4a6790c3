"""Where model packs lie: in the package, and in a folder of the site; and which one is in use.

A site's pack has a folder of its own under ``models`` in the data folder. It appears there under its name only when it
is complete and checked. ``models/in-use`` holds the name of the pack that recognisers take at their next start.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recognizer.acoustic_section import AcousticSection, section_of
from recognizer.model_pack import DEFAULT_PACK, MODELS, ModelPackError, read_manifest

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_IN_USE: Final = "in-use"
_GROWING: Final = ".adding-"


@dataclass(frozen=True)
class StoredPack:
    """A pack as `callwarden models list` tells of it.

    Attributes
    ----------
    name : str
    folder : Path
    shipped : bool
        Whether it came with the package.
    size_bytes : int
    manifest : dict
        Empty where it cannot be read.
    problem : str
        Why it cannot be used, in one sentence; empty where nothing is wrong at first sight.
    """

    name: str
    folder: Path
    shipped: bool
    size_bytes: int
    manifest: dict[str, Any]
    problem: str = ""

    @property
    def section(self) -> AcousticSection:
        """How its acoustic model is run."""
        return section_of(self.manifest)


class ModelStore:
    """The packs of the package and of a site.

    Parameters
    ----------
    site : Path
        The folder ``models`` of the data folder; it need not be there.
    shipped : Path, optional
        The package's own.
    """

    def __init__(self, site: Path, shipped: Path = MODELS) -> None:
        self.site = site
        self._shipped = shipped

    def packs(self) -> list[StoredPack]:
        """Return all packs by name, the shipped ones first."""
        return [_stored(folder, True) for folder in _folders(self._shipped)] + [
            _stored(folder, False) for folder in _folders(self.site)
        ]

    def find(self, name: str) -> StoredPack:
        """Return the pack `name`; raises ModelPackError if there is none."""
        packs = self.packs()
        for pack in packs:
            if pack.name == name:
                return pack
        known = ", ".join(pack.name for pack in packs)
        raise ModelPackError(f"There is no model pack {name[:80]!r}; there are: {known}.")

    def in_use(self, setting: str = "") -> StoredPack:
        """Return the pack to recognise with: `setting`, else the one chosen by `use`, else the shipped one.

        Raises
        ------
        ModelPackError
            The pack named is not there, or the choice cannot be read.
        """
        return self.find(setting or self.chosen() or DEFAULT_PACK.name)

    def chosen(self) -> str:
        """Return the name that `use` wrote; empty if none."""
        try:
            return (self.site / _IN_USE).read_text("utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError):
            raise ModelPackError("The choice of the model pack in the data folder cannot be read.") from None

    def use(self, name: str) -> None:
        """Choose the pack `name` for all starts from now on.

        Raises
        ------
        ModelPackError
            There is no such pack, or the choice cannot be written.
        """
        pack = self.find(name)
        if pack.problem:
            raise ModelPackError(pack.problem)
        try:
            self.site.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self.site, prefix=_IN_USE, delete=False, encoding="utf-8"
            ) as file:
                file.write(f"{name}\n")
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self.site / _IN_USE)
        except OSError as error:
            raise ModelPackError(
                f"The choice could not be written: {os.strerror(error.errno or 0).lower()}."
            ) from None

    def check_new(self, name: str) -> None:
        """Raise ModelPackError if no pack can be added under `name`."""
        if not _NAME.fullmatch(name) or name == _IN_USE:
            raise ModelPackError(
                "A model pack's name is made of small letters, digits, dots and dashes, at most 64 of them."
            )
        if any(pack.name == name for pack in self.packs()):
            raise ModelPackError(f"There is a model pack {name} already; choose another name with --name.")

    @contextmanager
    def growing(self, name: str) -> Iterator[Path]:
        """Yield a folder to fill; on leaving without an error it becomes the pack `name`, whole and on disk.

        Raises
        ------
        ModelPackError
            There is such a pack already, or the folder cannot be made.
        """
        self.check_new(name)
        try:
            self.site.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_GROWING, dir=self.site))
        except OSError as error:
            raise ModelPackError(f"The pack cannot be stored: {os.strerror(error.errno or 0).lower()}.") from None
        try:
            yield folder
            for path in (*folder.iterdir(), folder):
                handle = os.open(path, os.O_RDONLY)
                os.fsync(handle)
                os.close(handle)
            self.check_new(name)
            folder.rename(self.site / name)
        except OSError as error:
            raise ModelPackError(f"The pack cannot be stored: {os.strerror(error.errno or 0).lower()}.") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _stored(folder: Path, shipped: bool) -> StoredPack:
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    try:
        manifest = read_manifest(folder)
        section_of(manifest)
    except (ValueError, KeyError) as error:
        sentence = str(error) if isinstance(error, ModelPackError) else f"The pack {folder.name} cannot be read."
        return StoredPack(folder.name, folder, shipped, size, {}, sentence)
    return StoredPack(folder.name, folder, shipped, size, manifest)
