"""A model pack: the folder with everything that one recogniser needs, and the way from it to running objects.

``manifest.json`` names the pack's files with their checksums, says how the acoustic model is run
(:mod:`recognizer.acoustic_section`), and holds the phones and the coefficients of the confidence; ``card.md`` says
where they come from. The graph is shipped compressed in parts (:mod:`recognizer.graph_archive`) and unpacked once per
machine, a matter of seconds, into the cache folder, from where all workers map the same pages.

Format 1 is of packs with our own network; format 2 has the section ``acoustic``. A manifest may name further files,
each in an entry of its own: ``rescoring_language_model``, ``g2p``, ``calibration`` (:meth:`ModelPack.part`).
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

import numpy as np

from recognizer.acoustic_section import AcousticSection, AcousticSectionError, is_plain_name, section_of
from recognizer.confidence import ConfidenceModel
from recognizer.ctc_alignment import CtcAligner
from recognizer.ctc_graph import add_ctc_topology
from recognizer.ctc_tokens import TokenTable, TokenTableError, pronounce_words
from recognizer.decodable import AcousticScorer
from recognizer.features import FeatureStatistics
from recognizer.graph import FORMAT, Graph, GraphError
from recognizer.graph_archive import unpack_graph
from recognizer.hmm_topology import HmmTopology, add_self_loops
from recognizer.lexicon import SILENCE, LexiconError, read_lexicon
from recognizer.quantised import WeightForm
from recognizer.word_alignment import PronunciationTable, WordAligner

MODELS = Path(__file__).parent / "models"
DEFAULT_PACK = MODELS / "general-8k"
CACHE_VARIABLE = "CALLWARDEN_CACHE"
_CMUDICT = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONES = (SILENCE, *_CMUDICT.split())
"""CMUdict's phones without stress marks, after silence: the set of the shipped pack."""

FORMATS = (1, 2)
"""Of manifests that can be read."""
SHIPPED_BYTES = 40_000_000
"""A pack in the repository is not larger."""
_MOST_MANIFEST_BYTES = 1 << 20
_PART_BYTES = 7 << 20
_LOG = logging.getLogger(__name__)


class ModelPackError(ValueError):
    """The pack cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class PackSources:
    """The files from which a pack's graph is built, and the kind of its acoustic model."""

    arpa: Path
    lexicon: Path
    acoustic: Path
    phones: tuple[str, ...]
    kind: str = "tdnnf"

    @classmethod
    def of(cls, folder: Path) -> PackSources:
        """Return the sources that the manifest in `folder` names."""
        manifest = read_manifest(folder)
        section = _section(manifest)
        names = (manifest["language_model"], manifest["lexicon"], _topology_file(section))
        if not all(map(is_plain_name, names)):
            raise ModelPackError("The model pack's manifest names a file outside of the pack.")
        language_model, lexicon, acoustic = (folder / name for name in names)
        return cls(language_model, lexicon, acoustic, tuple(manifest.get("phones", ())), section.kind)

    def with_own_network(self, purpose: str) -> PackSources:
        """Return these if the pack has a network of our own kind, which `purpose` needs; else raise ModelPackError."""
        if self.kind != "tdnnf":
            raise ModelPackError(
                f"{purpose}, a model of the kind tdnnf is needed; the pack {self.acoustic.parent.name} has one of the "
                f"kind {self.kind}."
            )
        return self


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
    aligner : WordAligner or CtcAligner
    confidence : ConfidenceModel
    folder : Path
    acoustic : AcousticSection
        What the network is and how it is run.
    """

    name: str
    sample_rate_hz: int
    frame_shift_ms: int
    acoustic_scale: float
    acoustic_model: Path
    graph: Graph
    aligner: WordAligner | CtcAligner
    confidence: ConfidenceModel
    folder: Path
    acoustic: AcousticSection

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
            section = _section(manifest)
            acoustic, *_ = (_checked(folder, manifest, name) for name in section.own_files)
            graph = Graph.load(install_graph(folder, cache))
            return cls(
                manifest["name"],
                section.sample_rate_hz,
                section.frame_shift_ms,
                section.scale,
                acoustic,
                graph,
                _aligner(folder, manifest, section, graph),
                ConfidenceModel.from_manifest(manifest["confidence"]),
                folder,
                section,
            )
        except KeyError as error:
            raise ModelPackError(f"The manifest of the model pack lacks {error}.") from error
        except (GraphError, LexiconError, TokenTableError, OSError) as error:
            raise ModelPackError(f"The model pack could not be loaded: {error}") from error

    def open_acoustic(self, weights: WeightForm = "as-shipped") -> AcousticScorer:
        """Return the acoustic model, ready to run.

        Parameters
        ----------
        weights : str
            What a network of our own computes with, ``float32`` or ``int8``; or as the pack has them.

        Raises
        ------
        AcousticModelError, OnnxError
            It cannot be read, or what it needs is not installed.
        """
        if self.acoustic.kind == "tdnnf":
            from recognizer.acoustic_model import AcousticModel

            return AcousticModel.load(self.acoustic_model, self.acoustic_scale, weights)
        from recognizer.onnx_acoustic import OnnxAcousticModel

        statistics = None
        if self.acoustic.kind == "onnx-hybrid" and self.acoustic.features.kind == "callwarden":
            statistics = read_statistics(self.folder / self.acoustic.topology)
        return OnnxAcousticModel(self.acoustic_model, self.acoustic, statistics)

    def part(self, entry: str) -> Path | None:
        """Return the file that the manifest's `entry` names; see :func:`part`."""
        return part(self.folder, entry)


def part(folder: Path, entry: str) -> Path | None:
    """Return the file of the pack in `folder` that its manifest's `entry` names; None if it has no such part.

    Raises
    ------
    ModelPackError
        It is named but missing or damaged.
    """
    manifest = read_manifest(folder)
    return _checked(folder, manifest, manifest[entry]) if entry in manifest else None


def _section(manifest: Mapping[str, Any]) -> AcousticSection:
    try:
        return section_of(manifest)
    except AcousticSectionError as error:
        raise ModelPackError(f"The model pack cannot be used: {error}") from error
    except KeyError as error:
        raise ModelPackError(f"The manifest of the model pack lacks {error}.") from error


def _topology_file(section: AcousticSection) -> str:
    return section.topology if section.kind == "onnx-hybrid" else section.file


def _aligner(
    folder: Path, manifest: Mapping[str, Any], section: AcousticSection, graph: Graph
) -> WordAligner | CtcAligner:
    lexicon = _checked(folder, manifest, manifest["lexicon"])
    if section.kind == "onnx-ctc":
        table = TokenTable.read(folder / section.tokens, section.blank)
        if graph.pdfs != len(table.tokens):
            raise ModelPackError("The pack's graph and its token table do not belong together.")
        spellings = pronounce_words(graph.words, table, read_lexicon(lexicon, tuple(table.phones())))
        return CtcAligner(graph.words, spellings, table.blank)
    topology = HmmTopology.load(folder / _topology_file(section), manifest["phones"])
    if graph.pdfs != topology.pdfs:
        raise ModelPackError("The pack's graph and its acoustic model do not belong together.")
    spoken = PronunciationTable.build(graph.words, read_lexicon(lexicon, topology.phones), topology.phones)
    return WordAligner(topology, spoken)


def read_statistics(path: Path) -> FeatureStatistics:
    """Read ``mean`` and ``std`` of our own features from an ``.npz``; raises ModelPackError."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, deviation = (np.ascontiguousarray(arrays[name], np.float32) for name in ("mean", "std"))
        return FeatureStatistics(mean, deviation)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ModelPackError(f"The statistics of the features cannot be read: {type(error).__name__}.") from error


def cache_folder() -> Path:
    """Where unpacked graphs are kept: ``$CALLWARDEN_CACHE``, else ``callwarden`` in the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callwarden"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the pack in `folder`, or raise ModelPackError."""
    path = folder / "manifest.json"
    try:
        if path.stat().st_size > _MOST_MANIFEST_BYTES:
            raise ModelPackError("The manifest of the model pack is larger than 1 MiB.")
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ModelPackError):
            raise
        raise ModelPackError(f"The folder {folder.name} holds no model pack with a readable manifest.") from error
    if version not in FORMATS:
        raise ModelPackError(f"The model pack has format {version}, this version reads formats 1 and 2.")
    if "acoustic" in manifest:
        # Who only knows format 1 finds what it looks for.
        section = _section(manifest)
        manifest.setdefault("acoustic_model", section.file)
        manifest.setdefault("acoustic_scale", section.scale)
        manifest.setdefault("sample_rate_hz", section.sample_rate_hz)
        manifest.setdefault("frame_shift_ms", section.frame_shift_ms)
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
    section = _section(manifest)
    if section.kind == "onnx-ctc":
        table = TokenTable.read(_checked(folder, manifest, section.tokens), section.blank)
        if len(fst.input) and not 0 <= fst.input.min() <= fst.input.max() <= len(table.tokens):
            raise ModelPackError("The pack's graph and its token table do not belong together.")
        graph = add_ctc_topology(fst, table.blank, len(table.tokens), words)
    else:
        topology = HmmTopology.load(_checked(folder, manifest, _topology_file(section)), manifest["phones"])
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


def verify_files(folder: Path) -> None:
    """Check every file that the manifest in `folder` names; raises ModelPackError for the first that is not so."""
    manifest = read_manifest(folder)
    for name in manifest.get("files", {}):
        _checked(folder, manifest, name)


def _checked(folder: Path, manifest: Mapping[str, Any], name: str) -> Path:
    if not is_plain_name(name):
        raise ModelPackError("The model pack's manifest names a file outside of the pack.")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise ModelPackError(f"The model pack lacks its file {name}.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != _sum_of(manifest, name):
        raise ModelPackError(f"The model pack's file {name} is damaged: its checksum is not the manifest's.")
    return path


def _sum_of(manifest: Mapping[str, Any], name: str) -> Any:
    try:
        return manifest["files"][name]["sha256"]
    except (KeyError, TypeError):
        raise ModelPackError(f"The manifest of the model pack has no checksum of {name}.") from None
