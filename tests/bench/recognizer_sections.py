"""What the recogniser's benchmarks found, as tables: one function a benchmark, from its JSON to its sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.bench_first_start import STEPS
from tests.bench.figures import Figures

SPEECH = "simulated telephone speech"
_DELAYS = {
    "shown_audio": "a word's end to its first appearance, audio time",
    "shown_compute": "computing the piece that showed it",
    "silence": "the last word's end to the endpoint's decision, audio time",
    "final_audio": "the last word's end to the final, audio time",
    "final_compute": "computing the piece that told it",
}


@dataclass(frozen=True)
class Section:
    """A table with its heading.

    Attributes
    ----------
    title : str
    headings : sequence of str
    rows : sequence of sequences of str
        As long as `headings`.
    note : str
        Sentences below it.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def percent(share: float, places: int = 1) -> str:
    return f"{100 * share:.{places}f}"


def points(share: float) -> str:
    return f"{100 * share:+.1f}"


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f}"


def p50_p95(row: Figures, *name: str) -> str:
    return f"{row.number(*name, 'p50'):.0f} / {row.number(*name, 'p95'):.0f}"


def interval(row: Figures, name: str) -> str:
    low, high = row.number(name, "low"), row.number(name, "high")
    return f"{percent(low)}-{percent(high)} ({row.text(name, 'over')})"


def search(found: Figures) -> list[Section]:
    ratios = [
        (
            f"{row.number('beam'):g}", f"{row.number('recordings'):.0f}",
            f"{row.number('ratio_to_faster_decoder'):.2f}", f"{row.number('ratio_to_lattice_simple_decoder'):.3f}",
            f"{row.number('recordings_with_other_cost'):.0f}",
        )
        for row in found.rows("against_kaldi")
    ]  # fmt: skip
    trade = [
        (
            f"{row.number('beam'):g}", percent(row.number("word_error_rate")),
            percent(row.number("oracle_word_error_rate")), f"{row.number('search_real_time_factor'):.4f}",
            f"{row.number('lattice_real_time_factor'):.4f}", f"{row.number('bytes_per_stream_median') / 1e6:.2f}",
            f"{row.number('bytes_per_stream_most') / 1e6:.1f}",
        )
        for row in found.rows("by_beam")
    ]  # fmt: skip
    return [
        Section(
            "Search beside kaldi_decoder",
            ("beam", "sentences", "time, of FasterDecoder's", "of LatticeSimpleDecoder's", "other cost found"), ratios,
            "The same graph, scores and beam, in turns, one thread; ours makes lattices too.",
        ),
        Section(
            "What the beam costs and brings",
            ("beam", "WER %", "lattice oracle %", "RTF search", "RTF lattices", "a leg's search, MB, median", "most"),
            trade, f"{SPEECH}.",
        ),
    ]  # fmt: skip


def streaming(found: Figures) -> list[Section]:
    live = [
        (
            row.text("what"), f"{row.number('legs'):.0f}", f"{percent(row.number('use'), 0)} %", p50_p95(row, "word"),
            p50_p95(row, "final"), p50_p95(row, "silence"),
            f"{row.number('unstable'):.0f} of {row.number('stable'):.0f}",
        )
        for row in found.rows("live")
    ]  # fmt: skip
    whole = found.number("parts", "all")
    costs = [(name, found.number("parts", name)) for name in ("features", "network", "search and the rest", "all")]
    parts = [(name, f"{cost:.5f}", f"{percent(cost / whole, 0)} %") for name, cost in costs]
    networks = [
        (
            row.text("network"), f"{row.number('weights_mib'):.1f}", f"{row.number('activations_kib'):.0f}",
            f"{row.number('look_ahead_ms'):.0f}", *(f"{row.number(f'legs_{n}'):.5f}" for n in (1, 4, 16)),
        )
        for row in found.rows("networks")
    ]  # fmt: skip
    return [
        Section(
            "Live legs on one core",
            ("network", "legs", "of the core", "word, ms P50 / P95", "final", "silence", "stable words changed"), live,
            "Word: from its end to its first appearance in a partial. Final: from the endpoint decision to the final "
            "segment. Silence: what made the endpoint. All computing is real, the clock is simulated; sealing "
            f"and the log's write are left out. `live` is random: 3.5 million parameters, 120 ms of future. "
            f"{found.number('seconds_per_leg'):.0f} s a leg, {SPEECH}.",
        ),
        Section(
            "One leg heard alone, 8 bits", ("part", "CPU s per s", "share"), parts,
            f"A leg in mid-call adds {found.number('memory_per_leg_mib'):.1f} MiB of resident memory.",
        ),
        Section(
            "The network alone, CPU s per s and leg",
            ("network", "weights, MiB", "a leg, KiB", "future, ms", "1 leg", "4 together", "16 together"), networks,
        ),
    ]  # fmt: skip


def recognizer(found: Figures) -> list[Section]:
    kinds = [kind for kind in ("test", "development") if found.has(kind)] or ["test"]
    rows, delays, calibrations, peer = [], [], [], "peer"
    for kind in kinds:
        part = found.at(kind)
        peers = dict(part.at("peers").value)
        peer = next(iter(peers), peer)
        for name, own in part.items("sets"):
            rows.append(_words_of_a_set(name, own, part.at("peers", peer, name) if peers else None))
        whole = part.at("overall")
        delays += [
            (f"{_DELAYS.get(name, name)}, {kind} sets", f"{row.number('count'):,.0f}", p50_p95(row))
            for name, row in whole.items("delay_ms")
            if row.number("count")
        ]
        calibrations.append(
            (
                f"{kind} sets", f"{whole.number('calibration', 'words'):,.0f}",
                percent(whole.number("calibration", "share_right")), f"{whole.number('calibration', 'brier'):.4f}",
                f"{whole.number('calibration', 'brier_of_constant'):.4f}",
                f"{whole.number('calibration', 'expected_calibration_error'):.3f}",
                f"{whole.number('calibration', 'roc_area'):.3f}",
            )
        )  # fmt: skip
    return [
        Section(
            "Word error rates",
            ("set", "words", "WER %", "95 % interval", f"{peer} %", "95 % interval", "ratio", "lattice oracle %", "RTF",
             f"RTF {peer}"),
            rows,
            f"All on {SPEECH} (8 kHz, 300-3400 Hz, mu-law), streaming in pieces of 100 ms. Ratio: our WER over theirs.",
        ),
        Section(
            "Confidence of words, as shipped",
            ("on", "words", "right %", "Brier score", "of a constant", "expected calibration error", "ROC area"),
            calibrations, f"{SPEECH}.",
        ),
        Section(
            "Delays of single recordings", ("from", "count", "ms P50 / P95"), delays,
            "Audio time is in pieces of 100 ms; computing is the processor's time, with another process beside it.",
        ),
    ]  # fmt: skip


def _words_of_a_set(name: str, own: Figures, theirs: Figures | None) -> tuple[str, ...]:
    beside = ("", "", "")
    if theirs:
        ratio = f"{own.number('wer') / theirs.number('wer'):.2f}"
        beside = (percent(theirs.number("wer")), interval(theirs, "wer_interval"), ratio)
    return (
        name, f"{own.number('words'):,.0f}", percent(own.number("wer")), interval(own, "wer_interval"), *beside,
        percent(own.number("oracle_wer")), f"{own.number('real_time_factor'):.4f}",
        f"{theirs.number('real_time_factor'):.3f}" if theirs else "",
    )  # fmt: skip


def second_pass(found: Figures) -> list[Section]:
    rows = [
        (
            name, f"{row.number('words'):,.0f}", percent(row.number("without")), percent(row.number("with")),
            f"{points(row.number('difference'))} ({points(row.number('difference_low'))} to "
            f"{points(row.number('difference_high'))})",
            f"{row.number('real_time_factor_without'):.4f}", f"{row.number('real_time_factor_with'):.4f}",
        )
        for name, row in found.items("sets")
    ]  # fmt: skip
    default = found.number("default_below_confidence")
    return [
        Section(
            "Rescoring lattices with the bigger language model",
            ("set", "words", "WER % without", "with", "points (95 %)", "RTF without", "with"), rows,
            f"{SPEECH}. \"With\" rescores every utterance; by default those with a confidence below {default:g}.",
        )
    ]  # fmt: skip


def weights(found: Figures) -> list[Section]:
    rows = [
        (
            name, f"{row.number('words'):,.0f}", percent(row.number("float32"), 2), percent(row.number("int8"), 2),
            f"{points(row.number('difference_low'))} to {points(row.number('difference_high'))}",
            f"{row.number('recordings_with_other_words'):.0f} of {row.number('recordings'):.0f}",
            f"{row.number('real_time_factor_float32'):.4f}", f"{row.number('real_time_factor_int8'):.4f}",
        )
        for name, row in found.items("sets")
    ]  # fmt: skip
    return [
        Section(
            "Weights of 8 bits",
            ("set", "words", "WER % float32", "int8", "points (95 %)", "recordings that differ", "RTF float32", "int8"),
            rows, f"{SPEECH}. RTF: the whole recogniser, one leg alone.",
        )
    ]  # fmt: skip


def confidence(found: Figures) -> list[Section]:
    names = {
        "before": "before: the lattice's posterior",
        "pack": "the pack's coefficients",
        "other speakers": "fitted on other speakers than tried on",
    }
    rows = [
        (
            names.get(name, name),
            *(f"{row.number(key):.4f}" for key in ("brier", "expected_calibration_error", "roc_area")),
        )
        for name, row in found.items("ways")
    ]
    return [
        Section(
            "Confidence before and after fitting",
            ("confidence", "Brier score", "expected calibration error", "ROC area"), rows,
            f"{found.number('words'):,.0f} words of {found.number('speakers'):.0f} development speakers, "
            f"{percent(found.number('share_right'))} % right, {SPEECH}; Brier score of a constant "
            f"{found.number('brier_of_constant'):.4f}.",
        )
    ]  # fmt: skip


def first_start(found: Figures) -> list[Section]:
    starts = list(found.items("starts"))
    rows = [
        (
            name, *(f"{row.number('steps_s', step):.1f}" for step in STEPS), f"{row.number('total_s'):.1f}",
            f"{row.number('resident_mib'):.0f}", f"{row.number('starts'):.0f}",
        )
        for name, row in starts
    ]  # fmt: skip
    return [
        Section(
            "From starting the process to the first word, seconds",
            ("start", *STEPS, "all", "resident, MiB", "starts"), rows,
            "New machine: kernels are compiled, too; empty cache: the pack is unpacked. The first word is "
            f"{starts[0][1].number('audio_heard_s'):.1f} s into the recording, which is heard as fast as it goes. "
            f"The cache then holds {megabytes(found.number('cache_bytes'))} MB.",
        )
    ]  # fmt: skip


def pack(found: Figures) -> list[Section]:
    parts = [(name, megabytes(size.number())) for name, size in found.items("sizes") if name != "all"]
    parts.append(("all", megabytes(found.number("sizes", "all"))))
    graph = found.at("graph")
    size = (
        f"At most {megabytes(found.number('most_bytes'))} MB. "
        f"{found.number('network', 'parameters') / 1e6:.2f} million parameters, "
        f"{found.number('network', 'look_ahead_ms'):.0f} ms of future, "
        f"{megabytes(found.number('network', 'weight_bytes', 'float32'))} MB as float32 and "
        f"{megabytes(found.number('network', 'weight_bytes', 'int8'))} MB as int8; graph of "
        f"{graph.number('words'):,.0f} words: {graph.number('states'):,.0f} states, {graph.number('arcs'):,.0f} arcs "
        f"({graph.number('arcs_without_input'):,.0f} without input), {megabytes(graph.number('bytes'))} MB mapped."
    )
    sections = [Section("Size of the shipped pack", ("part", "MB"), parts, size)]
    if not found.has("build"):
        return sections
    build = found.at("build")
    steps = [
        (name, *(f"{row.number(key):.1f}" for key in ("wall_s", "processor_s")))
        for name, row in build.items("steps")
    ]
    steps.append(("all", f"{build.number('wall_s'):.1f}", f"{build.number('processor_s'):.1f}"))
    same = "the shipped one's" if build.flag("same_as_shipped") else "other ones than the shipped one's"
    note = (
        f"{build.number('bigrams'):,.0f} bigrams, {build.number('trigrams'):,.0f} trigrams; "
        f"{build.number('peak_memory_bytes') / 1e9:.2f} GB at the most; states and arcs are {same}."
    )
    return [*sections, Section("Building the graph", ("step", "s", "CPU s"), steps, note)]
