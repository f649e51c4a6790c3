"""A model pack: the folder with everything that one recogniser needs, and the way from it to running objects.

``manifest.json`` names the pack's files with their checksums, what the numbers in them mean (rate, frame shift,
acoustic scale, phones) and the coefficients of the confidence; ``card.md`` says where they come from. The graph is
shipped compressed in parts (:mod:`recognizer.graph_archive`) and unpacked once per machine, a matter of seconds, into
the cache folder, from where all workers map the same pages.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recognizer.confidence import ConfidenceModel
from recognizer.graph import FORMAT, Graph, GraphError
from recognizer.graph_archive import unpack_graph
from recognizer.hmm_topology import HmmTopology, add_self_loops
from recognizer.lexicon import SILENCE, LexiconError, read_lexicon
from recognizer.word_alignment import PronunciationTable, WordAligner

MODELS = Path(__file__).parent / "models"
DEFAULT_PACK = MODELS / "general-8k"
CACHE_VARIABLE = "CALLWARDEN_CACHE"
_CMUDICT = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONES = (SILENCE, *_CMUDICT.split())
"""CMUdict's phones without stress marks, after silence: the set of the shipped pack."""

_PACK_FORMAT = 1
_PART_BYTES = 7 << 20
_LOG = logging.getLogger(__name__)


class ModelPackError(ValueError):
    """The pack cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class PackSources:
    """The files from which a pack's graph is built."""

    arpa: Path
    lexicon: Path
    acoustic: Path
    phones: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> PackSources:
        """Return the sources that the manifest in `folder` names."""
        manifest = read_manifest(folder)
        return cls(
            folder / manifest["language_model"],
            folder / manifest["lexicon"],
            folder / manifest["acoustic_model"],
            tuple(manifest["phones"]),
        )


@dataclass(frozen=True)
class ModelPack:
    """What a recogniser runs on. Nothing in it changes; all sessions of a process share one.

    Attributes
    ----------
    name : str
    sample_rate_hz, frame_shift_ms : int
        Of the audio wanted, and between two rows of log likelihoods.
    acoustic_scale : float
        Multiply the network's outputs by it before :meth:`recognizer.beam_search.BeamSearch.advance`.
    acoustic_model : Path
        The network's file, checked against the manifest.
    graph : Graph
    aligner : WordAligner
    confidence : ConfidenceModel
    """

    name: str
    sample_rate_hz: int
    frame_shift_ms: int
    acoustic_scale: float
    acoustic_model: Path
    graph: Graph
    aligner: WordAligner
    confidence: ConfidenceModel

    @classmethod
    def load(cls, folder: Path = DEFAULT_PACK, cache: Path | None = None) -> ModelPack:
        """Load a pack; the first time on a machine this unpacks its graph into `cache` (:func:`cache_folder`).

        Raises
        ------
        ModelPackError
            If a file is missing, damaged or does not fit the others, or the cache cannot be written.
        """
        manifest = read_manifest(folder)
        try:
            lexicon = _checked(folder, manifest, manifest["lexicon"])
            acoustic = _checked(folder, manifest, manifest["acoustic_model"])
            topology = HmmTopology.load(acoustic, manifest["phones"])
            graph = Graph.load(install_graph(folder, cache))
            if graph.pdfs != topology.pdfs:
                raise ModelPackError("The pack's graph and its acoustic model do not belong together.")
            table = PronunciationTable.build(graph.words, read_lexicon(lexicon, topology.phones), topology.phones)
            return cls(
                manifest["name"],
                int(manifest["sample_rate_hz"]),
                int(manifest["frame_shift_ms"]),
                float(manifest["acoustic_scale"]),
                acoustic,
                graph,
                WordAligner(topology, table),
                ConfidenceModel.from_manifest(manifest["confidence"]),
            )
        except KeyError as error:
            raise ModelPackError(f"The manifest of the model pack lacks {error}.") from error
        except (GraphError, LexiconError, OSError) as error:
            raise ModelPackError(f"The model pack could not be loaded: {error}") from error


def cache_folder() -> Path:
    """Where unpacked graphs are kept: ``$CALLWARDEN_CACHE``, else ``callwarden`` in the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callwarden"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the pack in `folder`, or raise ModelPackError."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelPackError(f"The folder {folder.name} holds no model pack with a readable manifest.") from error
    if version != _PACK_FORMAT:
        raise ModelPackError(f"The model pack has format {version}, this version reads format {_PACK_FORMAT}.")
    return manifest


def graph_installed(folder: Path = DEFAULT_PACK, cache: Path | None = None) -> bool:
    """Whether the pack's graph has been unpacked on this machine already."""
    return (_graph_folder(read_manifest(folder), cache) / "graph.json").exists()


def install_graph(folder: Path = DEFAULT_PACK, cache: Path | None = None) -> Path:
    """Return the folder with the pack's unpacked graph; unpack it if this has not been done yet.

    Safe to call from several processes at once: one unpacks, the others wait. The folder appears under its name, which
    is the graph's checksum, only when it is complete and on disk.
    """
    manifest = read_manifest(folder)
    target = _graph_folder(manifest, cache)
    if (target / "graph.json").exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / "graph.json").exists():
                _unpack_into(folder, manifest, target)
    except OSError as error:
        raise ModelPackError(
            f"The recognition graph could not be unpacked into the cache folder: {error.strerror}."
        ) from error
    return target


def _unpack_into(folder: Path, manifest: Mapping[str, Any], target: Path) -> None:
    began = time.monotonic()
    data = b"".join(_checked(folder, manifest, part).read_bytes() for part in manifest["graph"])
    fst, words = unpack_graph(data)
    topology = HmmTopology.load(_checked(folder, manifest, manifest["acoustic_model"]), manifest["phones"])
    graph = add_self_loops(fst, topology, words)
    for left in target.parent.glob("unpacking-*"):  # of a process that was killed: this one holds the lock
        shutil.rmtree(left, ignore_errors=True)
    growing = Path(tempfile.mkdtemp(prefix="unpacking-", dir=target.parent))
    try:
        graph.save(growing)
        for path in [*growing.iterdir(), growing]:
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        growing.chmod(0o755)
        growing.rename(target)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    _LOG.info("Unpacked the recognition graph, %d arcs, in %.1f s.", len(graph.arcs), time.monotonic() - began)


def write_graph(folder: Path, data: bytes) -> None:
    """Replace the packed graph of the pack in `folder` and bring the manifest's checksums up to date."""
    manifest = read_manifest(folder)
    for old in manifest["graph"]:
        (folder / old).unlink(missing_ok=True)
    pieces = [data[at : at + _PART_BYTES] for at in range(0, len(data), _PART_BYTES)]
    manifest["graph"] = [f"graph.part-{i}" for i in range(len(pieces))]
    for name, piece in zip(manifest["graph"], pieces, strict=True):
        (folder / name).write_bytes(piece)
    manifest["graph_sha256"] = hashlib.sha256(data).hexdigest()
    seal_manifest(folder, manifest)


def seal_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `manifest` with the checksums of the files that lie in `folder` now."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "manifest.json")
    manifest["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in files
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def _graph_folder(manifest: Mapping[str, Any], cache: Path | None) -> Path:
    return (cache or cache_folder()) / "graphs" / f"{manifest['name']}-{manifest['graph_sha256'][:16]}-{FORMAT}"


def _checked(folder: Path, manifest: Mapping[str, Any], name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise ModelPackError(f"The model pack lacks its file {name}.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest["files"][name]["sha256"]:
        raise ModelPackError(f"The model pack's file {name} is damaged: its checksum is not the manifest's.")
    return path
