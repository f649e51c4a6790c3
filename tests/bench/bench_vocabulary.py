"""What a vocabulary gains and costs: words that the dictionary lacks, names that nobody says, and time.

Run as ``python -m tests.bench.bench_vocabulary [--sets FILE.tsv ...]``; prints a table and writes
build/bench/vocabulary.json. Speech is brought to the simulated telephone channel. Two vocabularies are put into
the shipped graph at several boosts: every word of the texts that the graph lacks (said as it is spelled, nobody
helps), and names of products and people of which none is said. *Found* are the lacking words recognised, *false*
the words of either vocabulary recognised where they were not said; times are the search's alone, relative to the
graph without words, alternating in one run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from recognizer.beam_search import BeamSearch, BeamSearchSettings, SearchScratch
from recognizer.evaluation.audio_file import read_audio
from recognizer.evaluation.telephone_channel import LABEL, telephone_speech
from recognizer.evaluation.test_set import read_test_set
from recognizer.evaluation.word_errors import count_errors, normalised_words
from recognizer.graph import Graph
from recognizer.grapheme_to_phoneme import GraphemeToPhoneme
from recognizer.hmm_topology import HmmTopology
from recognizer.lexicon import read_lexicon
from recognizer.model_pack import DEFAULT_PACK, ModelPack, PackSources
from recognizer.vocabulary import Vocabulary, VocabularyEntry
from recognizer.vocabulary_graft import graft
from recognizer.vocabulary_install import VocabularySources, phrases_of
from recognizer.vocabulary_settings import VocabularySettings
from tests.bench import machine
from tests.bench.speech_sets import REGRESSION_SET

OUT = Path("build/bench/vocabulary.json")
NAMES = (
    "Northwind", "Callwarden", "Xfinity", "Zelle", "Okonkwo", "Vanquis", "Prudentia", "Klarna", "Afterpay", "Tokenise",
    "Bhattacharya", "Wealthfront", "Ozempic", "Robinhood", "Synchrony", "Verizon", "Comcast", "Geico", "Allstate",
    "Medicare", "Humana", "Aetna", "Cigna", "Costco", "Walgreens", "Chewy", "Etsy", "Venmo", "Affirm", "Sezzle",
    "Roku", "Hulu", "Fitbit", "Garmin", "Nespresso", "Keurig", "Sonos", "Ecobee", "Instacart", "DoorDash", "Grubhub",
    "Lyft", "Airbnb", "Vrbo", "Expedia", "Kayak", "Siobhan", "Nguyen", "Xiomara", "Talkspace",
)  # fmt: skip
BOOSTS = (0.0, 3.0, 5.0, 7.0)

Heard = tuple[list[str], np.ndarray]


def hear(tables: Sequence[Path], pack: ModelPack) -> list[Heard]:
    network = pack.open_acoustic()
    heard = []
    for recording in (recording for table in tables for recording in read_test_set(table)):
        features, stream = network.features(), network.stream()
        samples = telephone_speech(read_audio(recording.audio))
        scores = np.concatenate([stream.accept(features.accept(samples)), stream.finish()])
        heard.append((normalised_words(recording.text), scores.astype(np.float32)))
    return heard


def search(graph: Graph, heard: list[Heard], scratch: SearchScratch) -> tuple[list[list[str]], float]:
    found, began = [], time.process_time()
    for _, scores in heard:
        search = BeamSearch(graph, BeamSearchSettings(), scratch)
        search.advance(scores)
        found.append(search.finish().text.split())
    return found, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, nargs="+", default=[REGRESSION_SET], help="columns audio and text")
    parser.add_argument("--boosts", type=float, nargs="+", default=BOOSTS)
    given = parser.parse_args()
    pack, sources = ModelPack.load(), PackSources.of(DEFAULT_PACK)
    topology = HmmTopology.load(sources.acoustic, sources.phones)
    lexicon, guesser = read_lexicon(sources.lexicon, sources.phones), GraphemeToPhoneme.load()
    heard, scratch = hear(given.sets, pack), SearchScratch()
    minutes = sum(len(scores) for _, scores in heard) * pack.frame_shift_ms / 60_000
    said = Counter(word for words, _ in heard for word in words)
    known = frozenset(pack.graph.words)
    lacking = [word for word in said if word not in known]
    search(pack.graph, heard[:2], scratch)
    rows = []
    for name, words in (("words that the graph lacks", lacking), ("names that nobody says", NAMES)):
        for boost in given.boosts:
            vocabulary = Vocabulary().added(*(VocabularyEntry.checked(word, boost) for word in words))
            made = VocabularySources(vocabulary, (), VocabularySettings(rulebook_boost=0))
            phrases = phrases_of(made, pack.graph, topology, lexicon, guesser)
            grown = graft(pack.graph, topology, phrases)
            plain, plain_s = search(pack.graph, heard, scratch)
            found, found_s = search(grown, heard, scratch)
            own = {entry.words[0] for entry in vocabulary.entries}
            right = false = errors = before = 0
            for (truth, _), guess, old in zip(heard, found, plain, strict=True):
                errors, before = (
                    errors + count_errors(truth, guess).errors,
                    before + count_errors(truth, old).errors,
                )
                for word in own & set(guess):
                    hits = min(truth.count(word), guess.count(word))
                    right, false = right + hits, false + guess.count(word) - hits
            rows.append({
                "vocabulary": name, "entries": len(words), "boost": boost, "said": sum(said[word] for word in own),
                "found": right, "false": false, "wer": errors / max(1, said.total()),
                "wer_before": before / max(1, said.total()), "time_ratio": found_s / plain_s,
                "more_arcs": len(grown.arcs) - len(pack.graph.arcs),
            })  # fmt: skip
    table = Table(
        "vocabulary", "entries", "boost", "found", "false", "WER %", "before", "time", "arcs more",
        title=f"{minutes:.1f} min, {said.total()} words, {LABEL}",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            str(row["vocabulary"]), str(row["entries"]), f"{row['boost']:g}", f"{row['found']} of {row['said']}",
            str(row["false"]), f"{100 * float(row['wer']):.2f}", f"{100 * float(row['wer_before']):.2f}",
            f"x {float(row['time_ratio']):.2f}", str(row["more_arcs"]),
        )  # fmt: skip
    Console(width=130).print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    sets = [table_of.stem for table_of in given.sets]
    figures = {
        "machine": machine.described(),
        "sets": sets,
        "minutes": minutes,
        "words": said.total(),
        "rows": rows,
    }
    OUT.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
