"""Word bounds of the forced aligner against PocketSphinx's, which aligns the original 16 kHz audio; and its speed.

``CALLWARDEN_CORPORA=FOLDER python -m tests.bench alignment``, where the folder holds ``audio.tsv``: the verbatim
recordings of its development split, brought to simulated telephone speech for ours. Utterances that PocketSphinx
cannot align, and those with words outside either dictionary, are left out and counted. Then an hour of them at
once. Prints a table and writes build/bench/alignment.json.
"""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from recognizer.forced_alignment import ForcedAligner
from recognizer.training.channel import reference_channel
from recognizer.training.corpora.reading import read_corpus
from recognizer.training.corpora.recording import LeftOut, Recording, TranscriptKind, read_samples
from tests.bench import machine

OUT = Path("build/bench/alignment.json")
_TRIES = ((0, 0), (3200, 4800), (4000, 1600), (1600, 3200))
"""Samples of faint noise before and behind: PocketSphinx's second pass fails on many utterances as they are."""


def peer_bounds(decoder, recording: Recording, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """Return ``(word, start_ms, end_ms)`` of PocketSphinx's alignment; None where it has none."""
    samples, rate = soundfile.read(recording.path, dtype="int16", always_2d=True)
    if rate != 16000 or any(decoder.lookup_word(word) is None for word in recording.words):
        return None
    samples = samples[:, 0]
    for before, behind in _TRIES:
        padded = samples
        if before:
            padded = np.concatenate((np.zeros(before), samples, np.zeros(behind)))
            padded = (padded + 3 * rng.standard_normal(padded.size)).clip(-32768, 32767).astype(np.int16)
        try:
            decoder.set_align_text(" ".join(recording.words))
            _decode(decoder, padded)
            if any(one.end_frame - one.start_frame < 2 for one in list(decoder.seg())[:-1]):
                continue
            decoder.set_alignment()
            _decode(decoder, padded)
            words = [(each.name.split("(")[0], each.start, each.duration) for each in decoder.get_alignment()]
        except (RuntimeError, TypeError, ValueError, AttributeError):
            continue
        offset = before // 16
        timed = [(n, 10 * s - offset, 10 * (s + d) - offset) for n, s, d in words if not n.startswith("<")]
        if tuple(word for word, _, _ in timed) == recording.words:
            return timed
    return None


def _decode(decoder, samples) -> None:  # type: ignore[no-untyped-def]
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()


def main() -> None:
    folder = os.environ.get("CALLWARDEN_CORPORA")
    if folder is None:
        print("CALLWARDEN_CORPORA names no folder with recordings: nothing is measured.")
        return
    from pocketsphinx import Config, Decoder

    aligner = ForcedAligner.of_pack()
    decoder = Decoder(Config(loglevel="FATAL", lm=None, cmn="batch"))
    rng = np.random.default_rng(0)
    recordings = [
        recording
        for recording in read_corpus(Path(folder), LeftOut())
        if recording.split == "dev" and recording.kind is TranscriptKind.VERBATIM
        if all(word in aligner.lexicon for word in recording.words)
    ]
    starts, ends, ours_s, peer_s, audio_s, left = [], [], 0.0, 0.0, 0.0, 0
    speech = []
    for recording in recordings:
        samples = reference_channel(read_samples(recording)[0], 8000)
        speech.append((recording.words, samples))
        began = time.process_time()
        theirs = peer_bounds(decoder, recording, rng)
        if theirs is None:
            left += 1
            continue
        peer_s += time.process_time() - began
        began = time.process_time()
        ours = aligner.align(recording.words, lambda samples=samples: [samples])
        ours_s += time.process_time() - began
        audio_s += samples.size / 8000
        starts += [a.start_ms - b[1] for a, b in zip(ours.words, theirs, strict=True)]
        ends += [a.end_ms - b[2] for a, b in zip(ours.words, theirs, strict=True)]
    print(
        f"{len(recordings) - left} utterances, {left} left out; simulated telephone speech against 16 kHz originals"
    )
    bounds = {}
    for name, off in (("starts", starts), ("ends", ends), ("both", starts + ends)):
        size = np.abs(off)
        bounds[name] = {
            "count": len(off),
            "signed_median_ms": float(np.median(off)),
            "absolute_median_ms": float(np.median(size)),
            "p90_ms": float(np.quantile(size, 0.9)),
            "share_within_60_ms": float(np.mean(size <= 60)),
            "share_over_100_ms": float(np.mean(size > 100)),
        }
        told = bounds[name]
        print(
            f"{name:7s} {len(off)} bounds: signed median {told['signed_median_ms']:.0f} ms, absolute median "
            f"{told['absolute_median_ms']:.0f} ms, P90 {told['p90_ms']:.0f} ms, within 60 ms "
            f"{told['share_within_60_ms']:.1%}, over 100 ms {told['share_over_100_ms']:.1%}"
        )
    print(
        f"real-time factor: ours {ours_s / audio_s:.4f}, PocketSphinx {peer_s / audio_s:.4f} (its retries included)"
    )
    figures = {
        "machine": machine.described(),
        "utterances": len(recordings) - left,
        "left_out": left,
        "bounds": bounds,
        "real_time_factor": ours_s / audio_s,
        "real_time_factor_pocketsphinx": peer_s / audio_s,
        "an_hour": _align_an_hour(aligner, speech),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def _align_an_hour(aligner: ForcedAligner, speech) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    words: list[str] = []
    pieces: list[np.ndarray] = []
    while sum(piece.size for piece in pieces) < 3600 * 8000:
        for text, samples in speech:
            words += text
            pieces.append(samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    found = aligner.align(words, lambda: pieces)
    spent = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{found.duration_ms / 3.6e6:.2f} h, {len(words):,} words at once: real-time factor "
        f"{spent / found.duration_ms * 1000:.4f}, {grown:.0f} MiB more than before"
    )
    return {
        "hours": found.duration_ms / 3.6e6,
        "words": len(words),
        "real_time_factor": spent / found.duration_ms * 1000,
        "mib_more": grown,
    }


if __name__ == "__main__":
    main()
