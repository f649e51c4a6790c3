"""A model pack with a site's vocabulary: its graph with the words in it, made once per machine and mapped by workers.

The graph lies in the cache folder beside the pack's own, under a name made of that and of a fingerprint of all that
went into it, so that workers which start together or later share one copy, and a changed vocabulary gets another one.
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from recognizer.graph import Graph, GraphError
from recognizer.grapheme_to_phoneme import SHIPPED, GraphemeModelError, GraphemeToPhoneme
from recognizer.hmm_topology import HmmTopology
from recognizer.lexicon import Lexicon, LexiconError, read_lexicon
from recognizer.model_pack import ModelPack, ModelPackError, PackSources, install_graph
from recognizer.vocabulary import Vocabulary, VocabularyEntry, VocabularyError
from recognizer.vocabulary_graft import SpokenPhrase, graft
from recognizer.vocabulary_settings import VocabularySettings
from recognizer.vocabulary_speech import Pronouncer, rule_phrases, spoken_entry
from recognizer.vocabulary_unknown import phone_bigrams
from recognizer.word_alignment import PronunciationTable, WordAligner

_FORMAT: Final = 1
"""Goes up when the same words would make another graph."""
_KEPT: Final = 3
_LOG = logging.getLogger(__name__)

Said = dict[str, list[tuple[int, ...]]]


@dataclass(frozen=True)
class VocabularySources:
    """What is to be put into the graph.

    Attributes
    ----------
    vocabulary : Vocabulary
    rules : tuple of sequences of patterns
        What rulebooks look for, see :func:`recognizer.vocabulary_speech.rule_phrases`.
    settings : VocabularySettings
    """

    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    rules: tuple[tuple[str, ...], ...] = ()
    settings: VocabularySettings = field(default_factory=VocabularySettings)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to put in."""
        boosted = self.rules and self.settings.rulebook_boost
        return not (self.vocabulary.entries or boosted or self.settings.graft.unknown_cost)

    def fingerprint(self, guesser: Path = SHIPPED) -> str:
        """Sixteen hexadecimal digits that stand for all that decides what comes of them in a given graph."""
        rules = sorted(set(self.rules)) if self.settings.rulebook_boost else []
        weighed = [_FORMAT, self.vocabulary.fingerprint, rules, asdict(self.settings)]
        digest = hashlib.sha256(json.dumps(weighed, sort_keys=True).encode())
        digest.update(guesser.read_bytes() if guesser.is_file() else b"")
        return digest.hexdigest()[:16]


class WordsNotTaken(VocabularyError):
    """The pack's kind of acoustic model has a graph that no words can be put into."""


def takes_words(kind: str) -> bool:
    """Whether words can be put into graphs of an acoustic model of this kind (``acoustic.kind`` of a pack)."""
    return kind != "onnx-ctc"


def with_vocabulary(pack: ModelPack, sources: VocabularySources, cache: Path | None = None) -> ModelPack:
    """Return `pack` with the words of `sources`; the pack itself if there are none.

    Raises
    ------
    WordsNotTaken
        If words cannot be put into graphs of its kind.
    VocabularyError
        If they cannot be put into this graph, or the cache cannot be written.
    """
    if sources.empty:
        return pack
    if not takes_words(pack.acoustic.kind):
        raise WordsNotTaken(
            f"The model {pack.name} is of the kind {pack.acoustic.kind}, which takes no words yet."
        )
    fingerprint = sources.fingerprint()
    began = time.monotonic()
    try:
        files = PackSources.of(pack.folder)
        topology = HmmTopology.load(files.acoustic, files.phones)
        lexicon = read_lexicon(files.lexicon, topology.phones)
        base = install_graph(pack.folder, cache)
        target = base.parent / f"{base.name}+{fingerprint}"
        grown = _load(target)
        if grown is None:
            with _locked(base.parent):
                grown = _load(target)  # by another process meanwhile
                if grown is None:
                    shutil.rmtree(target, ignore_errors=True)  # damaged
                    _grow(pack.graph, topology, lexicon, sources, target)
                    _forget_old(target, base)
                    grown = Graph.load(target), _read_said(target / "said.json")
        graph, said = grown
        with suppress(OSError):
            os.utime(target)  # the least recently used go first
    except (ModelPackError, GraphError, LexiconError, GraphemeModelError) as error:
        raise VocabularyError(f"The vocabulary was not put into the graph: {error}") from error
    except OSError as error:
        raise VocabularyError(f"The vocabulary was not put into the graph: {error.strerror}.") from error
    new = len(graph.words) - len(pack.graph.words)
    seconds = time.monotonic() - began
    _LOG.info("Vocabulary %s is in use: %d entries, %d new words; %.1f s.",
              fingerprint, len(sources.vocabulary.entries), new, seconds)  # fmt: skip
    return replace(pack, graph=graph, aligner=WordAligner(topology, _table(graph, topology, lexicon, said)))


def phrases_of(
    sources: VocabularySources, graph: Graph, topology: HmmTopology, lexicon: Lexicon, guesser: GraphemeToPhoneme
) -> list[SpokenPhrase]:
    """Return what is put into `graph`, entries that cannot be said left out."""
    pronouncer = Pronouncer(lexicon, guesser)
    label = {phone: i + 1 for i, phone in enumerate(topology.phones)}
    in_graph = frozenset(graph.words)
    phrases = [
        phrase
        for entry in sources.vocabulary.entries
        for phrase in spoken_entry(entry, pronouncer, label, in_graph)
    ]
    if sources.settings.rulebook_boost:
        own = {entry.words for entry in sources.vocabulary.entries}
        for words in rule_phrases(sources.rules, graph.words, lexicon.keys()):
            try:
                entry = VocabularyEntry.checked(" ".join(words), sources.settings.rulebook_boost)
            except VocabularyError:
                continue  # too long, or written as nobody says it
            if entry.words not in own:
                said = spoken_entry(entry, pronouncer, label, in_graph)
                phrases += [replace(phrase, if_rare=True) for phrase in said]
    return phrases


def _grow(graph: Graph, topology: HmmTopology, lexicon: Lexicon, sources: VocabularySources, target: Path) -> None:
    phrases = phrases_of(sources, graph, topology, lexicon, GraphemeToPhoneme.load())
    said: dict[str, list[list[int]]] = {}
    for phrase in phrases:
        for word, ways in zip(phrase.words, phrase.pronunciations, strict=True):
            known = said.setdefault(word, [])
            known += [list(way) for way in ways if list(way) not in known]
    for left in target.parent.glob("unpacking-*"):  # of a process that was killed: this one holds the lock
        shutil.rmtree(left, ignore_errors=True)
    growing = Path(tempfile.mkdtemp(prefix="unpacking-", dir=target.parent))
    try:
        bigrams = phone_bigrams(lexicon, topology.phones)
        graft(graph, topology, phrases, sources.settings.graft, bigrams).save(growing)
        (growing / "said.json").write_text(json.dumps(said), "utf-8")
        for path in [*growing.iterdir(), growing]:
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        growing.chmod(0o755)
        growing.rename(target)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


def _load(target: Path) -> tuple[Graph, Said] | None:
    """Return what lies in the cache; None where nothing does, or something that is of no use."""
    if not target.exists():
        return None
    try:
        return Graph.load(target), _read_said(target / "said.json")
    except (GraphError, OSError, ValueError, AttributeError, TypeError) as error:
        _LOG.warning("A graph with a vocabulary in the cache folder is damaged and is made again: %s.",
                     type(error).__name__)  # fmt: skip
        return None


def _forget_old(target: Path, base: Path) -> None:
    """Remove graphs of earlier vocabularies but the latest; processes that have them mapped keep their pages."""
    graphs = [path for path in base.parent.glob(f"{base.name}+*") if path != target]
    for path in sorted(graphs, key=lambda path: path.stat().st_mtime)[: -(_KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_said(path: Path) -> Said:
    data: Any = json.loads(path.read_text("utf-8"))
    return {word: [tuple(map(int, way)) for way in ways] for word, ways in data.items()}


def _table(
    graph: Graph, topology: HmmTopology, lexicon: Lexicon, said: Mapping[str, list[tuple[int, ...]]]
) -> PronunciationTable:
    whole = dict(lexicon)
    for word, ways in said.items():
        spelt = [tuple(topology.phones[label - 1] for label in way) for way in ways]
        whole[word] = list(dict.fromkeys((*lexicon.get(word, ()), *spelt)))
    return PronunciationTable.build(graph.words, whole, topology.phones)
