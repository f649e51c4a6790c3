"""A recogniser that knows the demo call's words only: the shipped network on a graph that is built in a second."""

from __future__ import annotations

import functools
import itertools
import math
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import yaml

from dsp import g711
from recognizer.acoustic_model import AcousticModel
from recognizer.confidence import FEATURES, ConfidenceModel
from recognizer.graph import Graph
from recognizer.graph_build import build_graph
from recognizer.hmm_topology import HmmTopology, add_self_loops
from recognizer.language.arpa_file import read_arpa as read_backoff
from recognizer.language.compact_model import CompactModel
from recognizer.language_model import read_arpa
from recognizer.lexicon import read_lexicon
from recognizer.model_pack import DEFAULT_PACK, PackSources, read_manifest
from recognizer.recogniser import Recogniser, RecogniserSettings
from recognizer.rescoring import LatticeRescorer, RescoringSettings
from recognizer.second_recogniser import SecondRecogniser
from recognizer.word_alignment import PronunciationTable, WordAligner

DEMO_CALL = Path(__file__).parents[2] / "console" / "demo_call"


@functools.cache
def _parts() -> tuple[AcousticModel, HmmTopology, Graph, WordAligner]:
    sources = PackSources.of(DEFAULT_PACK)
    model = AcousticModel.load(sources.acoustic, float(read_manifest(DEFAULT_PACK)["acoustic_scale"]))
    topology = HmmTopology.load(sources.acoustic, sources.phones)
    pronunciations = read_lexicon(sources.lexicon, sources.phones)
    lexicon = {word: pronunciations[word] for word in sorted(set(spoken_words()) & set(pronunciations))}
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "demo.arpa"
        arpa.write_text(_bigrams([turn for turn in turns() if all(word in lexicon for word in turn)]), "utf-8")
        language = read_arpa(arpa, lexicon)
    graph = add_self_loops(build_graph(language, lexicon, topology), topology, language.words)
    table = PronunciationTable.build(graph.words, lexicon, topology.phones)
    return model, topology, graph, WordAligner(topology, table)


def small_recogniser(
    settings: RecogniserSettings | None = None, second: SecondRecogniser | None = None
) -> Recogniser:
    """Return a recogniser of the demo call's vocabulary; its confidences mean nothing."""
    model, _, graph, aligner = _parts()
    return Recogniser(model, graph, aligner, ConfidenceModel(1.0, (0.5,) * len(FEATURES)), settings, second=second)


def contrary_recogniser(settings: RecogniserSettings | None = None) -> Recogniser:
    """Return the same with a rescorer that likes other words, so that whether it had its say is seen."""
    model, _, graph, aligner = _parts()
    return Recogniser(
        model, graph, aligner, ConfidenceModel(1.0, (0.5,) * len(FEATURES)), settings,
        contrary_rescorer(None if settings is None else settings.rescoring),
    )  # fmt: skip


def contrary_rescorer(settings: RescoringSettings | None = None) -> LatticeRescorer:
    """Return a rescorer from the demo call's bigrams to a model that thinks every third word very rare."""
    _, _, graph, _ = _parts()
    rare = frozenset(sorted(set(spoken_words()))[::3])
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for name, disliked in (("own", frozenset[str]()), ("contrary", rare)):
            arpa = Path(folder) / f"{name}.arpa"
            arpa.write_text(_bigrams(turns(), disliked), "utf-8")
            models.append(CompactModel.of(read_backoff(arpa)))
    return LatticeRescorer(graph.words, *models, settings)


def turns() -> list[list[str]]:
    """Return the sentences of the demo call as lower-case words."""
    dialogue = yaml.safe_load((DEMO_CALL / "dialogue.yaml").read_text("utf-8"))
    sentences = [part for turn in dialogue["turns"] for part in turn["text"].replace("?", ".").split(".")]
    return [sentence.lower().split() for sentence in sentences if sentence.strip()]


def spoken_words() -> list[str]:
    return [word for turn in turns() for word in turn]


def demo_codes(name: str) -> bytes:
    """Return the mu-law codes of ``agent`` or ``customer``, 8 kHz."""
    data = (DEMO_CALL / f"{name}.wav").read_bytes()
    start = data.index(b"data") + 8
    return data[start : start + int.from_bytes(data[start - 4 : start], "little")]


def demo_audio(name: str) -> np.ndarray:
    """Return the same as float32 in [-1, 1)."""
    return g711.decode_mu_law_float(np.frombuffer(demo_codes(name), np.uint8))


def _bigrams(sentences: list[list[str]], rare: frozenset[str] = frozenset()) -> str:
    """An ARPA file: the sentences' bigrams with a fifth of the mass left for any other word.

    Words that are called `rare` are a hundred million times less likely than they are.
    """
    ones: Counter[str] = Counter()
    twos: Counter[tuple[str, str]] = Counter()
    before: Counter[str] = Counter()
    for sentence in sentences:
        marked = ["<s>", *sentence, "</s>"]
        ones.update(marked[1:])
        twos.update(itertools.pairwise(marked))
        before.update(marked[:-1])
    total = sum(ones.values())
    lines = ["\\data\\", f"ngram 1={len(ones) + 1}", f"ngram 2={len(twos)}", "", "\\1-grams:"]
    lines.append(f"-99 <s> {math.log10(0.2):.5f}")
    less = dict.fromkeys(rare, 8.0)
    lines += [
        f"{math.log10(n / total) - less.get(word, 0):.5f} {word} {math.log10(0.2):.5f}"
        for word, n in sorted(ones.items())
    ]
    lines += ["", "\\2-grams:"]
    lines += [
        f"{math.log10(0.8 * n / before[a]) - less.get(b, 0):.5f} {a} {b}" for (a, b), n in sorted(twos.items())
    ]
    return "\n".join([*lines, "", "\\end\\", ""])
