"""Alignments as files of other programs: NIST CTM, Praat TextGrid, SubRip subtitles, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from recognizer.forced_alignment import Alignment, TimedPhone, TimedWord

_CUE_PAUSE_MS: Final = 700
_CUE_LETTERS: Final = 60
_CUE_MS: Final = 6000


def ctm(alignment: Alignment, recording: str, channel: int) -> str:
    """Return ``recording channel start duration word score`` lines (NIST; channels from 1, seconds)."""
    name = "_".join(recording.split()) or "recording"
    return "".join(
        f"{name} {channel + 1} {word.start_ms / 1000:.2f} {(word.end_ms - word.start_ms) / 1000:.2f} "
        f"{word.text} {word.score:.2f}\n"
        for word in alignment.words
    )


def json_text(alignment: Alignment) -> str:
    """Return one JSON object: ``duration_ms``, ``words`` (with their phones), ``unwritten`` spans; times in ms."""
    words = [
        {
            "text": word.text,
            "start_ms": word.start_ms,
            "end_ms": word.end_ms,
            "score": word.score,
            "phones": [
                {"phone": phone.phone, "start_ms": phone.start_ms, "end_ms": phone.end_ms} for phone in word.phones
            ],
        }
        for word in alignment.words
    ]
    spans = [{"start_ms": start, "end_ms": end} for start, end in alignment.unwritten]
    return json.dumps({"duration_ms": alignment.duration_ms, "words": words, "unwritten": spans}) + "\n"


def textgrid(alignment: Alignment) -> str:
    """Return a Praat TextGrid (long text form) with the tiers ``words`` and ``phones``."""
    phones = [phone for word in alignment.words for phone in word.phones]
    tiers = (
        ("words", _intervals(alignment.words, alignment.duration_ms)),
        ("phones", _intervals(phones, alignment.duration_ms)),
    )
    end = f"{alignment.duration_ms / 1000:.3f}"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers, 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for place, (start, stop, text) in enumerate(intervals, 1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {start / 1000:.3f}"]
            lines += [f"            xmax = {stop / 1000:.3f}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _intervals(timed: Sequence[TimedWord] | Sequence[TimedPhone], duration_ms: int) -> list[tuple[int, int, str]]:
    """Praat wants a tier without holes, and no empty interval."""
    intervals: list[tuple[int, int, str]] = []
    told = 0
    for each in timed:
        text = each.text if isinstance(each, TimedWord) else each.phone
        if each.start_ms > told:
            intervals.append((told, each.start_ms, ""))
        start = max(told, each.start_ms)
        if each.end_ms > start:
            intervals.append((start, each.end_ms, text))
            told = each.end_ms
    if told < duration_ms:
        intervals.append((told, duration_ms, ""))
    return intervals


def srt(alignment: Alignment) -> str:
    """Return SubRip subtitles: a new cue after a pause, and before it grows too long to be read."""
    cues: list[list[TimedWord]] = []
    for word in alignment.words:
        cue = cues[-1] if cues else []
        letters = sum(len(each.text) + 1 for each in cue)
        fits = (
            cue
            and word.start_ms - cue[-1].end_ms < _CUE_PAUSE_MS
            and letters + len(word.text) <= _CUE_LETTERS
            and word.end_ms - cue[0].start_ms <= _CUE_MS
        )
        if fits:
            cue.append(word)
        else:
            cues.append([word])
    return "".join(
        f"{number}\n{_clock(cue[0].start_ms)} --> {_clock(cue[-1].end_ms)}\n{' '.join(word.text for word in cue)}\n\n"
        for number, cue in enumerate(cues, 1)
    )


def _clock(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{milliseconds:03d}"
