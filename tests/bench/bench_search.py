"""The beam search beside Kaldi's decoders, and what a wider beam costs and brings.

Run as ``python -m tests.bench search``, or ``python -m tests.bench.bench_search --most 40 --beams 10 12 14``; prints
two tables and writes build/bench/search.json. Real speech on the shipped graph, one thread: the first recordings of
every ``*.tsv`` in the folder of ``CALLWARDEN_SPEECH_SETS`` (columns audio and text), by default the committed
utterances, all through the simulated telephone channel; the network's scores are computed beforehand and count
nowhere. Per recording the decoders take turns, so that a busy machine is busy for all of them. `FasterDecoder` keeps
the best path only, `LatticeSimpleDecoder` keeps a lattice as ours does (state-level; ours is made a word lattice too).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from recognizer.beam_search import BeamSearch, BeamSearchSettings
from recognizer.evaluation.audio_file import read_audio
from recognizer.evaluation.telephone_channel import telephone_speech
from recognizer.evaluation.test_set import read_test_set
from recognizer.evaluation.word_errors import WordErrors, count_errors, normalised_words
from recognizer.flat_fst import FlatFst
from recognizer.graph import Graph
from recognizer.lattice_paths import oracle_errors
from recognizer.model_pack import DEFAULT_PACK, ModelPack
from recognizer.recogniser import Recogniser

_ROOT = Path(__file__).parent.parent.parent
_COMMITTED = _ROOT / "tests" / "golden" / "speech"
_PIECE = 4
"""Frames that the search gets at once, as in a session."""

Float32 = NDArray[np.float32]


def as_transducer(graph: Graph) -> FlatFst:
    """Return the graph as Kaldi's decoders want it: input label = pdf + 1."""
    source = np.repeat(np.arange(graph.state_count), np.diff(graph.states["first"]))
    arcs = graph.arcs
    return FlatFst(
        source, arcs["next"].astype(np.int64), arcs["pdf"].astype(np.int64) + 1, arcs["word"].astype(np.int64),
        arcs["weight"].copy(), graph.states["final"][:-1].copy(), graph.start,
    )  # fmt: skip


def scored(recogniser: Recogniser, tables: list[Path], most: int) -> list[tuple[list[str], Float32]]:
    """Words said and scores of the first `most` recordings of each table."""
    found = []
    for table in tables:
        for recording in read_test_set(table)[:most]:
            samples = telephone_speech(read_audio(recording.audio))
            stream = recogniser.model.stream()
            block = recogniser.model.features().accept(samples)
            scores = np.concatenate([stream.accept(block), stream.finish()])
            found.append((normalised_words(recording.text), scores))
    return found


def timed(job: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    began = time.process_time()
    result = job(*arguments)
    return time.process_time() - began, result


def ours(search: BeamSearch, scores: Float32) -> tuple[float, Any]:
    search.reset()
    for at in range(0, len(scores), _PIECE):
        search.advance(scores[at : at + _PIECE])
    found = search.finish()
    return found.cost, search.lattice(found.reached_final)


def against_kaldi(
    graph: Graph, speech: list[tuple[list[str], Float32]], beams: list[float], slow: int
) -> list[Any]:
    """Seconds of each decoder per beam; `slow` recordings are given to the slow one."""
    import kaldi_decoder
    import kaldifst

    theirs = kaldifst.StdConstFst(as_transducer(graph).to_kaldifst())
    rows = []
    for beam in beams:
        settings = BeamSearchSettings(beam=beam, max_active=1 << 30)
        search = BeamSearch(graph, settings)
        faster = kaldi_decoder.FasterDecoder(
            theirs, kaldi_decoder.FasterDecoderOptions(beam=beam, max_active=1 << 30)
        )
        config = kaldi_decoder.LatticeSimpleDecoderConfig(beam=beam, lattice_beam=settings.lattice_beam)
        with_lattice = kaldi_decoder.LatticeSimpleDecoder(theirs, config)
        ours(search, speech[0][1])
        seconds = dict.fromkeys(("ours", "FasterDecoder", "ours again", "LatticeSimpleDecoder"), 0.0)
        differing = 0
        for i, (_, scores) in enumerate(speech):
            decodable = kaldi_decoder.DecodableCtc(scores)
            taken, (cost, _) = timed(ours, search, scores)
            seconds["ours"] += taken
            taken, _ = timed(faster.decode, decodable)
            seconds["FasterDecoder"] += taken
            _, best = faster.get_best_path()
            weight = kaldifst.get_linear_symbol_sequence(best)[3]
            differing += abs(cost - weight.value1 - weight.value2) > 0.05
            if i < slow:
                seconds["ours again"] += timed(ours, search, scores)[0]
                decodable = kaldi_decoder.DecodableCtc(scores)
                seconds["LatticeSimpleDecoder"] += timed(with_lattice.decode, decodable)[0]
                seconds["LatticeSimpleDecoder"] += timed(with_lattice.get_raw_lattice)[0]
        rows.append(
            {
                "beam": beam,
                "recordings": len(speech),
                "recordings_with_other_cost": int(differing),
                "seconds": seconds,
                "ratio_to_faster_decoder": seconds["ours"] / seconds["FasterDecoder"],
                "ratio_to_lattice_simple_decoder": seconds["ours again"]
                / (seconds["LatticeSimpleDecoder"] or 1.0),
            }
        )
    return rows


def by_beam(graph: Graph, speech: list[tuple[list[str], Float32]], beams: list[float]) -> list[Any]:
    """Word errors, the lattices' oracle, time and memory per beam, with the shipped settings otherwise."""
    number = {word: i for i, word in enumerate(graph.words)}
    rows = []
    for beam in beams:
        search = BeamSearch(graph, BeamSearchSettings(beam=beam))
        errors, oracle, searching, making, kept, arcs = WordErrors(), 0, 0.0, 0.0, [], 0
        for said, scores in speech:
            search.reset()
            most = 0
            for at in range(0, len(scores), _PIECE):
                searching += timed(search.advance, scores[at : at + _PIECE])[0]
                most = max(most, search.nbytes)
            kept.append(most)
            found = search.finish()
            taken, lattice = timed(search.lattice, found.reached_final)
            making += taken
            arcs += len(lattice.arcs)
            errors += count_errors(said, [word.text for word in found.words])
            oracle += oracle_errors(lattice, np.array([number.get(word, -1) for word in said], np.int64))
        audio_s = 0.03 * sum(len(scores) for _, scores in speech)
        rows.append(
            {
                "beam": beam,
                "words": errors.words,
                "word_error_rate": errors.rate,
                "oracle_word_error_rate": oracle / max(1, errors.words),
                "search_real_time_factor": searching / audio_s,
                "lattice_real_time_factor": making / audio_s,
                "lattice_arcs_per_s": arcs / audio_s,
                "bytes_per_stream_median": float(np.median(kept)),
                "bytes_per_stream_most": max(kept),
            }
        )
    return rows


def shown(title: str, rows: list[dict[str, Any]], columns: list[tuple[str, str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*(format(row[name], form) for name, _, form in columns))
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_search", description=__doc__.split("\n")[0])
    parser.add_argument("--most", type=int, default=16, help="recordings per test set")
    parser.add_argument("--slow", type=int, default=4, help="recordings given to Kaldi's LatticeSimpleDecoder")
    parser.add_argument("--beams", type=float, nargs="+", default=[10.0, 12.0, 14.0])
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    given = parser.parse_args()
    folder = Path(os.environ.get("CALLWARDEN_SPEECH_SETS") or _COMMITTED)
    tables = sorted(folder.glob("*.tsv"))
    if not tables:
        print(f"There is no test set (*.tsv) in {folder}.")
        return 1
    pack = ModelPack.load(given.pack)
    speech = scored(Recogniser.of_pack(pack), tables, given.most)
    ratios = against_kaldi(pack.graph, speech, given.beams, given.slow)
    trade = by_beam(pack.graph, speech, given.beams)
    shown(
        "Time beside Kaldi's decoders, same graph, scores and beam (ours makes lattices too)", ratios,
        [("beam", "beam", "g"), ("recordings", "recordings", "d"), ("recordings_with_other_cost", "other cost", "d"),
         ("ratio_to_faster_decoder", "ours / FasterDecoder", ".2f"),
         ("ratio_to_lattice_simple_decoder", "ours / LatticeSimpleDecoder", ".3f")],
    )  # fmt: skip
    shown(
        "What a beam costs and brings, simulated telephone speech", trade,
        [("beam", "beam", "g"), ("word_error_rate", "WER", ".1%"), ("oracle_word_error_rate", "lattice oracle", ".1%"),
         ("search_real_time_factor", "RTF search", ".4f"), ("lattice_real_time_factor", "RTF lattices", ".4f"),
         ("lattice_arcs_per_s", "arcs/s", ".0f"), ("bytes_per_stream_median", "bytes per stream", ",.0f"),
         ("bytes_per_stream_most", "most", ",.0f")],
    )  # fmt: skip
    out = _ROOT / "build" / "bench" / "search.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
    }
    out.write_text(
        json.dumps({"machine": machine, "against_kaldi": ratios, "by_beam": trade}, indent=2) + "\n", "utf-8"
    )
    return int(any(row["ratio_to_faster_decoder"] > 1.0 or row["recordings_with_other_cost"] for row in ratios))


if __name__ == "__main__":
    raise SystemExit(main())
