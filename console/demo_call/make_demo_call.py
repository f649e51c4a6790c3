"""Makes the demo call's speech: `python console/demo_call/make_demo_call.py` (needs Debian's flite and sox).

Two flite voices read the lines of dialogue.yaml; sox brings each leg to the telephone band, 8 kHz mu-law. The voices
are synthetic: they show the way of a call and are no evidence of how well speech is recognised.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
import yaml

HERE = Path(__file__).parent
RATE = 8000


def speak(text: str, voice: list[str], folder: Path) -> np.ndarray:
    """Return int16[n] at 8 kHz of one line, 300-3400 Hz."""
    spoken, band = folder / "spoken.wav", folder / "band.wav"
    subprocess.run(["flite", *voice, "-t", text, "-o", str(spoken)], check=True)
    subprocess.run(
        [
            "sox",
            str(spoken),
            "-r",
            str(RATE),
            "-c",
            "1",
            "-b",
            "16",
            str(band),
            "gain",
            "-n",
            "-6",
            "sinc",
            "300-3400",
        ],
        check=True,
    )
    with wave.open(str(band)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def main() -> int:
    dialogue = yaml.safe_load((HERE / "dialogue.yaml").read_text())
    legs: dict[str, list[np.ndarray]] = {name: [] for name in dialogue["voices"]}
    length = 0
    with tempfile.TemporaryDirectory() as scratch:
        for turn in dialogue["turns"]:
            length += int(turn.get("after_s", 0.6) * RATE)
            line = speak(turn["text"], dialogue["voices"][turn["who"]], Path(scratch))
            parts = legs[turn["who"]]
            parts.append(np.zeros(length - sum(map(len, parts)), np.int16))
            parts.append(line)
            length += len(line)
        length += RATE
        for name, parts in legs.items():
            parts.append(np.zeros(length - sum(map(len, parts)), np.int16))
            # Faint noise instead of digital silence, as any telephone line has.
            noise = np.random.default_rng(20).normal(0, 6, length)
            samples = np.clip(np.concatenate(parts) + noise, -32768, 32767).astype(np.int16)
            raw = Path(scratch) / f"{name}.raw"
            raw.write_bytes(samples.tobytes())
            subprocess.run(
                [
                    *("sox", "-t", "raw", "-r", str(RATE), "-e", "signed", "-b", "16", "-c", "1", raw),
                    *("-e", "mu-law", "-b", "8", HERE / f"{name}.wav"),
                ],
                check=True,
            )
    sys.stdout.write(f"{length / RATE:.1f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
