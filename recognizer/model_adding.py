"""Add a model from elsewhere to a site's packs: check it, build its graph, store it, all or nothing.

A folder is either a whole pack (with ``manifest.json``) or an acoustic model: one ``*.onnx``, for CTC ``tokens.txt``,
for a hybrid one ``hybrid.npz``, and ``model.json`` where the ONNX file does not say itself how it is run. Dictionary
and language model may lie beside it (``lexicon.txt``, ``*.arpa``, both also ``.xz``, or a packed ``*.lm``); else
those of the base pack are taken, with its language model for rescoring, if it has one. Everything is copied first, and
what is checked is the copy.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from recognizer.acoustic_section import AcousticSection
from recognizer.ctc_tokens import WORD_START, TokenTable, TokenTableError, pronounce_words, spell_words
from recognizer.hmm_topology import HmmTopology
from recognizer.language_model import FIRST_WORD, read_arpa
from recognizer.lexicon import LexiconError, read_lexicon
from recognizer.model_check import Checked, ModelRefused, check_apart
from recognizer.model_pack import ModelPackError, PackSources, part, read_manifest, seal_manifest, write_graph
from recognizer.model_store import ModelStore, StoredPack

Progress = Callable[[str], None]
Check = Callable[[str, Path], Checked]

MOST_FILES: Final = 200
MOST_BYTES: Final = 2 << 30
MOST_TEXT_BYTES: Final = 256 << 20
"""Of a dictionary or a language model, unpacked: both are read at once."""
MOST_ARRAY_BYTES: Final = 64 << 20
_LEAST_SPELLED: Final = 0.9
_LEXICONS: Final = ("lexicon.txt", "lexicon.txt.xz")
_NOT_SPOKEN: Final = frozenset({"<unk>", "<UNK>"})
_CARD: Final = "card.md"
_RESCORING: Final = "rescoring_language_model"
_TAKEN: Final = re.compile(r".*\.(onnx|data|npz|txt|arpa|lm|xz|json|md|weight|bin|part-\d+)|graph\.part-\d+")
"""Files that are copied; a folder may hold recordings and scripts besides."""


@dataclass(frozen=True)
class Added:
    """What became a pack.

    Attributes
    ----------
    name : str
    checked : Checked
    words : int
    unspelled : int
        Words of the language model that the tokens cannot spell, left out; zero for a whole pack.
    notes : tuple of str
        What is worth knowing, in whole sentences.
    """

    name: str
    checked: Checked
    words: int = 0
    unspelled: int = 0
    notes: tuple[str, ...] = field(default=())


def add_model(
    source: Path,
    store: ModelStore,
    base: StoredPack,
    name: str = "",
    progress: Progress = lambda step: None,
    check: Check = check_apart,
) -> Added:
    """Check the model in the folder `source` and make a pack of it.

    Parameters
    ----------
    source : Path
    store : ModelStore
    base : StoredPack
        Whose dictionary, language model and confidence serve where the folder brings none.
    name : str
        Of the pack; by default the folder's, or that in its manifest.
    progress : callable
        Called with the name of each step before it starts.
    check : callable
        How the model is run for the first time: apart, with limits; anything else is for models one has made.

    Raises
    ------
    ModelRefused, ModelPackError
        What does not fit, in one sentence; nothing was stored.
    """
    progress("copy")
    files = _inventory(source)
    whole = "manifest.json" in files
    name = name or _name_of(source, whole)
    with store.growing(name) as folder:
        for file in files:
            _copy(source / file, folder / file)
        progress("dry run")
        try:
            added = (
                _whole_pack(folder, name, check) if whole else _acoustic_model(folder, name, base, progress, check)
            )
        except (TokenTableError, LexiconError) as error:
            raise ModelRefused(str(error)) from None
    return added


def _name_of(source: Path, whole: bool) -> str:
    if whole:
        return str(read_manifest(source).get("name", ""))
    return re.sub(r"[^a-z0-9._-]+", "-", source.resolve().name.lower()).strip("-.")[:64]


def _inventory(source: Path) -> list[str]:
    """Names of the files to copy; what is not a plain file of the folder itself is refused or left out."""
    try:
        entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    except OSError as error:
        raise ModelRefused(f"The folder cannot be read: {os.strerror(error.errno or 0).lower()}.") from None
    if len(entries) > MOST_FILES:
        raise ModelRefused(f"The folder holds more than {MOST_FILES} files.")
    names, total = [], 0
    for entry in entries:
        if not _TAKEN.fullmatch(entry.name):
            continue
        if not entry.is_file(follow_symlinks=False):
            raise ModelRefused(f"The folder's {entry.name} is no plain file.")
        total += entry.stat(follow_symlinks=False).st_size
        names.append(entry.name)
    if total > MOST_BYTES:
        raise ModelRefused("The folder's files are larger than 2 GiB together.")
    return names


def _copy(source: Path, target: Path) -> None:
    """Copy a file that has not become a link meanwhile."""
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ModelRefused(f"The file {source.name} cannot be copied: {reason}.") from None


def _whole_pack(folder: Path, name: str, check: Check) -> Added:
    for file in folder.glob("*.xz"):
        _unpacks(file)
    checked = check("load", folder)
    manifest = read_manifest(folder)
    if manifest.get("name") != name:
        seal_manifest(folder, {**manifest, "name": name})
    return Added(name, checked, notes=_notes(checked))


def _acoustic_model(folder: Path, name: str, base: StoredPack, progress: Progress, check: Check) -> Added:
    checked = check("inspect", folder)
    section = checked.section
    if base.section.kind == "onnx-ctc":
        raise ModelRefused(f"The base pack {base.name} has no dictionary of phones; choose another with --base.")
    if section.kind == "onnx-ctc":
        words, unspelled = _ctc_graph(folder, name, base, checked, progress)
    else:
        words, unspelled = _hybrid_graph(folder, name, base, checked, progress), 0
    notes = _notes(checked)
    if unspelled:
        notes = (*notes, f"The tokens cannot spell {unspelled} words of the language model; they are left out.")
    progress("load")
    _write_card(folder, name, base, checked, notes)
    seal_manifest(folder, read_manifest(folder))
    check("load", folder)
    return Added(name, checked, words, unspelled, notes)


def _notes(checked: Checked) -> tuple[str, ...]:
    notes = []
    if checked.section.sample_rate_hz > 8000:
        notes.append(
            "The model is for 16 kHz: telephone legs are resampled, and what lies above 4 kHz stays empty."
        )
    if checked.share > 0.5:
        notes.append(
            f"The network alone takes {checked.share:.2f} of the audio's time on this machine: too slow to be live."
        )
    return tuple(notes)


def _ctc_graph(folder: Path, name: str, base: StoredPack, checked: Checked, progress: Progress) -> tuple[int, int]:
    """Build and store the graph; return how many words it has, and how many could not be spelled."""
    from recognizer.ctc_graph import build_spelled_grammar
    from recognizer.graph_archive import pack_graph

    section = checked.section
    if not (folder / section.tokens).is_file():
        raise ModelRefused(f"The folder lacks the token table {section.tokens}.")
    table = TokenTable.read(folder / section.tokens, section.blank)
    if len(table.tokens) != checked.columns:
        raise ModelRefused(
            f"The token table has {len(table.tokens)} tokens, the model's output has {checked.columns} columns."
        )
    arpa, own = _language_model(folder, base), _own_lexicon(folder)
    words = [word for word in read_arpa(arpa).words[FIRST_WORD:] if word not in _NOT_SPOKEN]
    lexicon = read_lexicon(own, tuple(table.phones())) if own else {}
    # Whoever wrote the lexicon in capitals means the same words.
    lexicon = {**{word.lower(): said for word, said in lexicon.items()}, **lexicon}
    if section.units == "pieces" and any(token.startswith(WORD_START) for token in table.tokens):
        spellings = spell_words(words, table, lexicon)
    else:
        if own is None:
            sources = PackSources.of(base.folder)
            lexicon = read_lexicon(sources.lexicon, sources.phones)
        spellings = pronounce_words(words, table, lexicon)
    wanted = len(words)
    if len(spellings) < _LEAST_SPELLED * wanted:
        lacking = next(word for word in words if word not in spellings)
        raise ModelRefused(
            f"The token table can spell only {len(spellings)} of the language model's {wanted} words, "
            f"not for instance {lacking!r}."
        )
    model = read_arpa(arpa, spellings)
    fst = build_spelled_grammar(model, spellings, len(table.tokens), progress)
    _write_lexicon(
        folder, [(word, [table.tokens[c] for c in said]) for word in spellings for said in spellings[word]]
    )
    _write_manifest(folder, name, base, section, arpa, ())
    progress("pack the graph")
    write_graph(folder, pack_graph(fst, model.words))
    return len(spellings), wanted - len(spellings)


def _hybrid_graph(folder: Path, name: str, base: StoredPack, checked: Checked, progress: Progress) -> int:
    """Build and store the graph, or take the base pack's if it is of the same leaves; return its words."""
    from recognizer.graph_archive import pack_graph
    from recognizer.graph_build import build_graph

    section = checked.section
    if not (folder / section.topology).is_file():
        raise ModelRefused(f"The folder lacks {section.topology} with the leaves of the model's outputs.")
    sources = PackSources.of(base.folder)
    topology = _topology(folder / section.topology, sources.phones)
    if topology.pdfs != checked.columns:
        raise ModelRefused(f"The leaves have {topology.pdfs} outputs, the model has {checked.columns} columns.")
    arpa, own = _language_model(folder, base), _own_lexicon(folder)
    lexicon = read_lexicon(own or sources.lexicon, sources.phones)
    _write_lexicon(folder, [(word, said) for word in lexicon for said in lexicon[word]])
    _write_manifest(folder, name, base, section, arpa, sources.phones)
    same = (
        own is None and arpa.parent == base.folder and _same(topology, _topology(sources.acoustic, sources.phones))
    )
    if same:
        data = b"".join((base.folder / part).read_bytes() for part in base.manifest["graph"])
        write_graph(folder, data)
        return len(lexicon)
    model = read_arpa(arpa, lexicon)
    fst = build_graph(model, lexicon, topology, progress)
    progress("pack the graph")
    write_graph(folder, pack_graph(fst, model.words))
    return len(model.words) - FIRST_WORD


def _topology(path: Path, phones: Sequence[str]) -> HmmTopology:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_ARRAY_BYTES:
                raise ModelRefused(f"The arrays in {path.name} are larger than 64 MiB.")
        return HmmTopology.load(path, phones)
    except ModelRefused:
        raise
    except KeyError as error:
        raise ModelRefused(f"The file {path.name} lacks the array {error}.") from None
    except (zipfile.BadZipFile, MemoryError, OSError, ValueError, TypeError, IndexError, EOFError) as error:
        sentence = str(error) if type(error) is ValueError and str(error).endswith(".") else "it cannot be read."
        raise ModelRefused(f"The leaves in {path.name} do not serve: {sentence}") from None


def _same(one: HmmTopology, other: HmmTopology) -> bool:
    return np.array_equal(one.leaf, other.leaf) and np.array_equal(one.self_loop, other.self_loop)


def _own_lexicon(folder: Path) -> Path | None:
    found = next((folder / name for name in _LEXICONS if (folder / name).is_file()), None)
    return _unpacks(found) if found else None


def _language_model(folder: Path, base: StoredPack) -> Path:
    found = sorted((*folder.glob("*.arpa"), *folder.glob("*.arpa.xz"), *folder.glob("*.lm")))
    if len(found) > 1:
        raise ModelRefused("The folder holds more than one language model.")
    return _unpacks(found[0]) if found else PackSources.of(base.folder).arpa


def _unpacks(path: Path) -> Path:
    """Return `path`, or refuse a text that is too large, before anybody reads it at once."""
    total = 0
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            while piece := file.read(1 << 20):
                total += len(piece)
                if total > MOST_TEXT_BYTES:
                    raise ModelRefused(f"The text in {path.name} is larger than {MOST_TEXT_BYTES >> 20} MiB.")
    except (lzma.LZMAError, OSError, EOFError):
        raise ModelRefused(f"The file {path.name} cannot be unpacked.") from None
    return path


def _write_lexicon(folder: Path, entries: Sequence[tuple[str, Sequence[str]]]) -> None:
    text = "\n".join(f"{word} {' '.join(said)}" for word, said in entries) + "\n"
    for name in _LEXICONS:
        (folder / name).unlink(missing_ok=True)
    (folder / "lexicon.txt.xz").write_bytes(lzma.compress(text.encode()))


def _write_manifest(
    folder: Path, name: str, base: StoredPack, section: AcousticSection, arpa: Path, phones: Sequence[str]
) -> None:
    if arpa.parent != folder:
        shutil.copyfile(arpa, folder / arpa.name)
    manifest: dict[str, Any] = {
        "format": 2,
        "name": name,
        "language": base.manifest.get("language", ""),
        "acoustic": msgspec.to_builtins(section),
        "lexicon": "lexicon.txt.xz",
        "language_model": arpa.name,
        "confidence": base.manifest["confidence"],
        "graph": [],
    }
    bigger = part(base.folder, _RESCORING) if arpa.parent == base.folder else None
    if bigger is not None:
        shutil.copyfile(bigger, folder / bigger.name)
        manifest[_RESCORING] = bigger.name
    if phones:
        manifest["phones"] = list(phones)
    seal_manifest(folder, manifest)


def _write_card(folder: Path, name: str, base: StoredPack, checked: Checked, notes: Sequence[str]) -> None:
    if (folder / _CARD).exists():
        return
    section = checked.section
    lines = [
        f"# {name}: a model from elsewhere",
        "",
        f"An acoustic model of the kind {section.kind}, {checked.columns} outputs every {section.frame_shift_ms} ms "
        f"from {section.features.bins} features at {section.sample_rate_hz} Hz. Its makers, training data and licence "
        "are not known to callwarden; write them here.",
        "",
        f"The confidences are those of {base.name}, not fitted to this model. No word error rate has been measured: "
        "`python -m recognizer.evaluation --pack FOLDER` does so.",
        *(f"\n{note}" for note in notes),
    ]
    (folder / _CARD).write_text("\n".join(lines) + "\n", "utf-8")


__all__ = ["Added", "ModelPackError", "ModelRefused", "add_model"]
