"""Diarization error on made conversations of known speakers, simulated telephone speech.

``CALLWARDEN_CORPORA=FOLDER python -m tests.bench.bench_diarization [--split test]``, where the folder holds
``audio.tsv``: pairs of speakers of one corpus, 90 s each, one conversation a pair, an overlap at one turn of
seven. Prints the errors and writes build/bench/diarization.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from recognizer.diarization.diarizer import Diarizer
from recognizer.diarization.error_rate import DiarizationError, diarization_error
from recognizer.training.channel import reference_channel
from recognizer.training.corpora.reading import read_corpus
from recognizer.training.corpora.recording import LeftOut, Recording, read_samples
from tests.bench import machine
from tests.builders.conversations import conversation

OUT = Path("build/bench/diarization.json")
_UTTERANCES = 20
_PAIRS = 30
_COLLARS_S = (0.0, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_diarization")
    parser.add_argument(
        "--split", choices=("dev", "test"), default="dev", help="test is for the final figure alone"
    )
    split = parser.parse_args().split
    folder = os.environ.get("CALLWARDEN_CORPORA")
    if folder is None:
        print("CALLWARDEN_CORPORA names no folder with recordings: nothing is measured.")
        return
    speakers: dict[str, list[Recording]] = defaultdict(list)
    for recording in read_corpus(Path(folder), LeftOut(), held_out_too=split == "test"):
        if recording.split == split and recording.speaker and not recording.speaker.startswith("fsdd"):
            speakers[recording.speaker].append(recording)
    diarizer = Diarizer.of_pack()
    rng = np.random.default_rng(7)
    by_family: dict[str, list[str]] = defaultdict(list)
    for speaker in sorted(speakers):
        by_family[speaker.rpartition("-")[0]].append(speaker)
    totals: dict[tuple[str, float], DiarizationError] = {}
    spent = heard = 0.0
    for family, names in by_family.items():
        pairs = list(itertools.combinations(names, 2))
        chosen = rng.permutation(len(pairs))[:_PAIRS]
        for pair in (pairs[i] for i in chosen):
            said = [[read_samples(each)[0] for each in speakers[name][:_UTTERANCES]] for name in pair]
            mixed, turns = conversation(*said, rng)
            samples = reference_channel(mixed, 8000)
            began = time.process_time()
            found = diarizer.turns(lambda samples=samples: [samples])
            spent += time.process_time() - began
            heard += samples.size / 8000
            for collar in _COLLARS_S:
                error = diarization_error(turns, found, samples.size / 8000, collar)
                for name in (family, "all"):
                    totals[name, collar] = totals.get((name, collar), DiarizationError(0, 0, 0, 0)) + error
    print(f"split {split}, {heard / 90:.0f} conversations of 90 s, simulated telephone speech; overlap is scored")
    for (name, collar), error in sorted(totals.items()):
        parts = (error.missed_s, error.false_alarm_s, error.confusion_s)
        missed, false, confused = (part / error.speech_s for part in parts)
        print(
            f"{name:16s} collar {collar:.2f} s: DER {error.rate:.1%} "
            f"(missed {missed:.1%}, false alarm {false:.1%}, confusion {confused:.1%})"
        )
    print(f"real-time factor {spent / heard:.4f}")
    errors = [
        {
            "speakers": name,
            "collar_s": collar,
            "rate": error.rate,
            "missed": error.missed_s / error.speech_s,
            "false_alarm": error.false_alarm_s / error.speech_s,
            "confusion": error.confusion_s / error.speech_s,
        }
        for (name, collar), error in sorted(totals.items())
    ]
    figures = {
        "machine": machine.described(),
        "split": split,
        "conversations": round(heard / 90),
        "errors": errors,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({**figures, "real_time_factor": spent / heard}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
