"""As :mod:`tests.bench.recognizer_sections`, of what stands beside recognising; and which function is whose."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.bench import recognizer_sections as first
from tests.bench.figures import Figures
from tests.bench.recognizer_sections import SPEECH, Section, megabytes, p50_p95, percent


def look_ahead(found: Figures) -> list[Section]:
    delays = [
        (
            f"{row.number('look_ahead_ms'):.0f}", p50_p95(row, "word"), p50_p95(row, "final"),
            f"{percent(row.number('use'), 0)} %",
        )
        for row in found.rows("delays")
    ]  # fmt: skip
    packs = found.rows("words")
    sets = [name for name, _ in packs[0].items("wer")]
    words = [
        (
            row.text("pack"), f"{row.number('look_ahead_ms'):.0f}",
            *(percent(row.number("wer", name)) for name in sets),
        )
        for row in packs
    ]  # fmt: skip
    return [
        Section(
            "What the network's future costs in delay",
            ("future, ms", "word, ms P50 / P95", "final", "of the core"), delays,
            f"{found.number('legs'):.0f} live legs on one core; random networks of one size with 8 bits, the shipped "
            "one's words told when they would tell them.",
        ),
        Section(
            "Words by the network's future, WER %", ("pack", "future, ms", *sets), words,
            f"{SPEECH}. Packs that were not trained on the same data differ in more than their future.",
        ),
    ]  # fmt: skip


def alignment(found: Figures) -> list[Section]:
    rows = [
        (
            name, f"{row.number('count'):,.0f}", f"{row.number('signed_median_ms'):.0f}",
            f"{row.number('absolute_median_ms'):.0f}", f"{row.number('p90_ms'):.0f}",
            percent(row.number("share_within_60_ms")), percent(row.number("share_over_100_ms")),
        )
        for name, row in found.items("bounds")
    ]  # fmt: skip
    hour = found.at("an_hour")
    return [
        Section(
            "Aligning a known text",
            ("bounds", "count", "signed median, ms", "absolute median", "P90", "within 60 ms, %", "over 100 ms, %"),
            rows,
            f"{found.number('utterances'):.0f} utterances of development speakers, {found.number('left_out'):.0f} "
            f"left out; {SPEECH} against PocketSphinx's bounds on the 16 kHz originals. Real-time factor "
            f"{found.number('real_time_factor'):.4f}, PocketSphinx "
            f"{found.number('real_time_factor_pocketsphinx'):.4f}; "
            f"{hour.number('hours'):.2f} h with {hour.number('words'):,.0f} words at once: "
            f"{hour.number('real_time_factor'):.4f}, {hour.number('mib_more'):.0f} MiB more.",
        )
    ]  # fmt: skip


def diarization(found: Figures) -> list[Section]:
    rows = [
        (
            row.text("speakers"), f"{row.number('collar_s'):.2f}", percent(row.number("rate")),
            percent(row.number("missed")), percent(row.number("false_alarm")), percent(row.number("confusion")),
        )
        for row in found.rows("errors")
    ]  # fmt: skip
    return [
        Section(
            "Two speakers in one channel, diarization error",
            ("speakers", "collar, s", "DER %", "missed", "false alarm", "confusion"), rows,
            f"{found.number('conversations'):.0f} made conversations of 90 s, {found.text('split')} speakers, "
            f"{SPEECH}; overlap is scored. Real-time factor {found.number('real_time_factor'):.4f}.",
        )
    ]  # fmt: skip


def perplexity(found: Figures) -> list[Section]:
    models = [name for name, _ in found.items("ngrams")]
    rows = [
        (
            name, f"{row.number('words'):,.0f}", percent(row.number("outside"), 2),
            *(f"{row.number(model):.1f}" for model in models),
        )
        for name, row in found.items("texts")
    ]  # fmt: skip
    counts = "; ".join(
        f"{model}'s model: "
        + ", ".join(f"{count.number():,.0f}" for count in found.rows("ngrams", model))
        + " n-grams"
        for model in models
    )
    return [
        Section(
            "Perplexity of held-out text",
            ("text", "words", "outside the vocabulary %", *(f"{model}'s model" for model in models)), rows,
            f"Per word and sentence end, words outside left out. {counts}.",
        )
    ]  # fmt: skip


def language(found: Figures) -> list[Section]:
    rows = [
        (
            name, f"{row.number('load_s'):.1f}", f"{row.number('words_per_s') / 1e6:.2f}",
            f"{row.number('perplexity'):.2f}",
        )
        for name, row in found.items("readers")
    ]  # fmt: skip
    return [
        Section(
            "Reading the language model", ("reader", "load, s", "million words/s", "perplexity"), rows,
            f"{found.number('words'):,.0f} words drawn from the model, one thread; packed "
            f"{megabytes(found.number('packed_bytes'))} MB.",
        )
    ]  # fmt: skip


def vocabulary(found: Figures) -> list[Section]:
    rows = [
        (
            row.text("vocabulary"), f"{row.number('entries'):.0f}", f"{row.number('boost'):g}",
            f"{row.number('found'):.0f} of {row.number('said'):.0f}", f"{row.number('false'):.0f}",
            percent(row.number("wer"), 2), percent(row.number("wer_before"), 2), f"{row.number('time_ratio'):.2f}",
        )
        for row in found.rows("rows")
    ]  # fmt: skip
    return [
        Section(
            "A vocabulary's words",
            ("vocabulary", "entries", "boost", "found", "false", "WER %", "without", "time, of without"), rows,
            f"{found.number('minutes'):.1f} min, {found.number('words'):,.0f} words of development speakers, {SPEECH}; "
            "pronunciations guessed from the spelling.",
        )
    ]  # fmt: skip


def pronunciations(found: Figures) -> list[Section]:
    rates = ("phone_error_rate", "word_error_rate", "word_error_rate_of_three")
    rows = [
        (name, f"{row.number('words'):,.0f}", *(percent(row.number(rate), 2) for rate in rates))
        for name, row in found.items("guessers")
    ]
    return [
        Section(
            "Guessed pronunciations",
            ("guesser", "words", "phones wrong %", "words wrong %", "none of three right %"), rows,
            f"Trained in {found.number('trained_s'):.0f} s, {found.number('per_word_ms'):.1f} ms a word.",
        )
    ]  # fmt: skip


SECTIONS: Mapping[str, Callable[[Figures], list[Section]]] = {
    "search": first.search,
    "streaming": first.streaming,
    "recognizer": first.recognizer,
    "second_pass": first.second_pass,
    "weights": first.weights,
    "first_start": first.first_start,
    "pack": first.pack,
    "confidence": first.confidence,
    "look_ahead": look_ahead,
    "alignment": alignment,
    "diarization": diarization,
    "perplexity": perplexity,
    "language": language,
    "vocabulary": vocabulary,
    "pronunciations": pronunciations,
}
"""Per benchmark of :data:`tests.bench.recognizer_plan.PLAN`."""
