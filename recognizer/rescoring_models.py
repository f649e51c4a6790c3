"""The two language models that rescoring needs, from a pack's files to arrays that all workers of a machine map.

A pack that can rescore names its big model in the manifest's entry ``rescoring_language_model``; the small one is the
``language_model`` that its graph was built from. Each is unpacked once per machine into the cache folder, under the
checksum of its file, as the graph is.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from recognizer.language import compact_model
from recognizer.language.arpa_file import read_arpa
from recognizer.language.compact_model import CompactModel, CompactModelError
from recognizer.lattice import ARC, Lattice
from recognizer.lexicon import LexiconError
from recognizer.model_pack import ModelPack, ModelPackError, cache_folder, part
from recognizer.rescoring import LatticeRescorer, RescoringSettings

_LEVELS = 256
"""Different values per length of n-gram that are kept of a small model: its scores must be those in the graph."""


def rescorer_of_pack(
    pack: ModelPack, settings: RescoringSettings | None = None, cache: Path | None = None
) -> LatticeRescorer | None:
    """Return the rescorer of a pack; None if it has no big language model.

    Raises
    ------
    ModelPackError
        A model is missing or damaged, or the cache cannot be written.
    """
    big = pack.part("rescoring_language_model")
    small = pack.part("language_model")
    if big is None or small is None:
        return None
    rescorer = LatticeRescorer(
        pack.graph.words, installed_model(small, cache), installed_model(big, cache), settings
    )
    # Compiles, so that the first segment of a live call need not wait for it.
    nothing = Lattice(np.empty(0, ARC), np.zeros(1, np.int32), np.zeros(1), np.zeros(1), 0, 1.0)
    rescorer.rescore(nothing, ends_sentence=True).best_path()
    return rescorer


def install_models(folder: Path, cache: Path | None = None) -> None:
    """Unpack the language models that rescoring with the pack in `folder` needs, if it can rescore.

    Raises
    ------
    ModelPackError
        A model is missing or damaged, or the cache cannot be written.
    """
    if part(folder, "rescoring_language_model") is None:
        return
    for entry in ("language_model", "rescoring_language_model"):
        if (path := part(folder, entry)) is not None:
            installed_model(path, cache)


def installed_model(path: Path, cache: Path | None = None) -> CompactModel:
    """Map the model in `path` (``.lm``, or ARPA, also compressed); the first time on a machine, unpack it.

    Safe to call from several processes at once: one unpacks, the others wait.
    """
    try:
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        target = (cache or cache_folder()) / "language-models" / f"{path.stem}-{checksum[:16]}"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with (target.parent / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.exists():
                    _unpack(path, target)
        return compact_model.load(target)
    except (CompactModelError, LexiconError, lzma.LZMAError) as error:
        raise ModelPackError(f"The pack's language model for rescoring cannot be used: {error}") from error
    except OSError as error:
        raise ModelPackError(
            f"The language model could not be unpacked into the cache: {error.strerror}."
        ) from error


def _unpack(path: Path, target: Path) -> None:
    """Make `target` whole or not at all; the lock is held."""
    if path.suffix == ".lm":
        model = compact_model.unpacked(path.read_bytes())
    else:
        model = compact_model.unpacked(compact_model.pack(read_arpa(path), _LEVELS))
    for left in target.parent.glob("unpacking-*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    growing = Path(tempfile.mkdtemp(prefix="unpacking-", dir=target.parent))
    try:
        compact_model.save(model, growing)
        for file in [*growing.iterdir(), growing]:
            handle = os.open(file, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        growing.chmod(0o755)
        growing.rename(target)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
