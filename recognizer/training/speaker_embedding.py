"""Train the network of voices (:mod:`recognizer.diarization.speaker_network`).

``python -m recognizer.training.speaker_embedding CORPUS... --out voices.npz``: reads the corpora by layout, keeps
speakers with enough speech, sends every recording through some random telephone lines, and trains a classifier of
speakers with an additive angular margin (AAM-softmax, Deng et al., 2019) on stretches of 0.8-3 s. Only the part below
the classifier is kept. One thread, seeded; about six minutes of CPU for ten hours of speech.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import nn

from recognizer.diarization.speaker_network import STACK, TAPS, SpeakerNetwork, stacked_features
from recognizer.log_mel import BINS
from recognizer.training.channel import ChannelSettings, reference_channel, simulate
from recognizer.training.corpora.reading import read_corpus
from recognizer.training.corpora.recording import LeftOut, with_samples

Float32 = NDArray[np.float32]

_INPUTS: Final = STACK * BINS


@dataclass(frozen=True)
class EmbeddingSettings:
    """How the network is trained."""

    width: int = 160
    wide: int = 256
    size: int = 64
    steps: int = 1300
    batch: int = 64
    shortest_rows: int = 27
    longest_rows: int = 100
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    margin: float = 0.1
    scale: float = 20.0
    lines: int = 3
    """Random telephone lines that each recording is sent through, besides the reference channel."""
    least_speaker_s: float = 6.0
    dropout: float = 0.1
    seed: int = 1


class Voices(nn.Module):
    """The network as it is trained; :meth:`folded` makes the one that runs."""

    def __init__(self, settings: EmbeddingSettings, speakers: int, mean: Float32, deviation: Float32) -> None:
        super().__init__()
        widths = [_INPUTS, settings.width, settings.width, settings.width, settings.wide]
        self.mean, self.deviation = mean, deviation
        self.layers = nn.ModuleList(nn.Linear(widths[i] * len(taps), widths[i + 1]) for i, taps in enumerate(TAPS))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])
        self.projection = nn.Linear(2 * settings.wide, settings.size)
        self.final_norm = nn.BatchNorm1d(settings.size, affine=False)
        self.dropout = nn.Dropout(settings.dropout)
        self.speakers = nn.Parameter(torch.randn(speakers, settings.size))

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """float32[batch, rows, 120] to float32[batch, size]."""
        x = (features - torch.from_numpy(self.mean)) / torch.from_numpy(self.deviation)
        for layer, norm, taps in zip(self.layers, self.norms, TAPS, strict=True):
            rows = x.shape[1]
            if len(taps) > 1:
                places = (torch.arange(rows)[:, None] + torch.tensor(taps)).clamp(0, rows - 1)
                x = x[:, places].flatten(2)
            x = torch.relu(layer(x))
            x = norm(x.flatten(0, 1)).view(x.shape)
        mean = x.mean(1)
        deviation = torch.sqrt(x.var(1, unbiased=False) + 1e-4)
        return torch.as_tensor(self.final_norm(self.dropout(self.projection(torch.cat((mean, deviation), 1)))))

    def folded(self) -> SpeakerNetwork:
        """Fold the normalisations into the weights of the layers behind them."""

        def numbers(tensor: torch.Tensor) -> NDArray[np.float64]:
            return tensor.detach().double().numpy()

        def norm(layer: nn.Module) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            assert isinstance(layer, nn.BatchNorm1d) and layer.running_mean is not None  # noqa: PT018
            assert layer.running_var is not None
            scale = 1 / np.sqrt(numbers(layer.running_var) + layer.eps)
            shift = -numbers(layer.running_mean) * scale
            if layer.affine:
                scale, shift = scale * numbers(layer.weight), shift * numbers(layer.weight) + numbers(layer.bias)
            return scale, shift

        layers = []
        before_scale, before_shift = np.ones(_INPUTS), np.zeros(_INPUTS)
        for layer, own_norm, taps in zip(self.layers, self.norms, TAPS, strict=True):
            assert isinstance(layer, nn.Linear)
            weights = numbers(layer.weight).T
            bias = numbers(layer.bias) + np.tile(before_shift, len(taps)) @ weights
            layers.append((weights * np.tile(before_scale, len(taps))[:, None], bias))
            before_scale, before_shift = norm(own_norm)
        # The last normalisation is affine per column: the mean is scaled and shifted, the deviation scaled.
        weights = numbers(self.projection.weight).T
        bias = (
            numbers(self.projection.bias) + np.concatenate((before_shift, np.zeros(len(before_shift)))) @ weights
        )
        weights = weights * np.concatenate((before_scale, np.abs(before_scale)))[:, None]
        scale, shift = norm(self.final_norm)
        as_float32 = [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers]
        return SpeakerNetwork(
            self.mean,
            self.deviation,
            tuple(as_float32),
            (weights * scale).astype(np.float32),
            (bias * scale + shift).astype(np.float32),
        )


def speaker_features(
    corpora: list[Path], settings: EmbeddingSettings, left_out: LeftOut
) -> dict[str, list[NDArray[np.float16]]]:
    """Return the features of every training speaker: one array for each recording and line."""
    rng = np.random.default_rng(settings.seed)
    lines = ChannelSettings(warp_probability=0.0)
    others: list[Float32] = []
    found: dict[str, list[NDArray[np.float16]]] = defaultdict(list)
    for corpus in corpora:
        recordings = (
            recording
            for recording in read_corpus(corpus, left_out)
            if recording.speaker and recording.split in ("train", "untranscribed")
        )
        for recording, samples in with_samples(recordings, left_out):
            copies = [reference_channel(samples, 8000)]
            copies += [simulate(samples, rng, lines, (), others) for _ in range(settings.lines)]
            found[recording.speaker] += [stacked_features(copy).astype(np.float16) for copy in copies]
            if len(others) < 200 and rng.random() < 0.2:
                others.append(samples)
    return found


def trained(features: dict[str, list[NDArray[np.float16]]], settings: EmbeddingSettings) -> Voices:
    """Train on `features`; returns the network in its state for use."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(settings.seed)
    seconds = {
        name: sum(len(rows) for rows in held) * 0.03 / (1 + settings.lines) for name, held in features.items()
    }
    names = sorted(name for name, length in seconds.items() if length >= settings.least_speaker_s)
    sample = np.concatenate([features[name][0][:200] for name in names]).astype(np.float32)
    model = Voices(settings, len(names), sample.mean(0), sample.std(0) + np.float32(1e-3))
    # Speakers with more speech are drawn more often, but far less than in proportion.
    chance = np.array([min(seconds[name], 60.0) ** 0.5 for name in names])
    chance /= chance.sum()
    lengths = {name: np.array([len(rows) for rows in features[name]], np.float64) for name in names}
    optimiser = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, settings.steps, pct_start=0.1, anneal_strategy="linear"
    )
    console = Console(stderr=True)
    running, began = 0.0, time.process_time()
    with Progress(console=console) as progress:
        task = progress.add_task("voices", total=settings.steps)
        for step in range(settings.steps):
            rows = int(rng.integers(settings.shortest_rows, settings.longest_rows + 1))
            chosen = rng.choice(len(names), settings.batch, p=chance)
            batch = np.stack([_stretch(features[names[i]], lengths[names[i]], rows, rng) for i in chosen])
            embedded = nn.functional.normalize(model.embed(torch.from_numpy(batch)))
            cosine = embedded @ nn.functional.normalize(model.speakers).T
            target = torch.from_numpy(chosen)
            # The margin grows from zero in the first third: begun with, it keeps the network from starting.
            margin = settings.margin * min(1.0, 3 * step / settings.steps)
            own = cosine.gather(1, target[:, None]).clamp(-0.999, 0.999)
            harder = torch.cos(torch.acos(own) + margin)
            loss = nn.functional.cross_entropy(settings.scale * cosine.scatter(1, target[:, None], harder), target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            running += 0.02 * (float(loss.detach()) - running) if step else float(loss.detach())
            progress.update(task, advance=1, description=f"voices, {len(names)} speakers, loss {running:.2f}")
            if step % 250 == 249:
                spent = time.process_time() - began
                console.print(f"step {step + 1}: loss {running:.3f}, {spent:.0f} s of CPU")
    return model.eval()


def _stretch(
    held: list[NDArray[np.float16]], lengths: NDArray[np.float64], rows: int, rng: np.random.Generator
) -> Float32:
    """A random stretch of `rows` rows of one speaker; recordings that are too short are repeated."""
    recording = held[int(rng.choice(len(held), p=lengths / lengths.sum()))]
    if len(recording) < rows:
        recording = np.tile(recording, (-(-rows // max(1, len(recording))), 1))
    begin = int(rng.integers(len(recording) - rows + 1))
    return recording[begin : begin + rows].astype(np.float32)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m recognizer.training.speaker_embedding", description=__doc__)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("voices.npz"))
    parser.add_argument("--steps", type=int, default=EmbeddingSettings.steps)
    parser.add_argument("--seed", type=int, default=EmbeddingSettings.seed)
    chosen = parser.parse_args()
    settings = EmbeddingSettings(steps=chosen.steps, seed=chosen.seed)
    left_out = LeftOut()
    console = Console(stderr=True)
    features = speaker_features(chosen.corpora, settings, left_out)
    if sentence := left_out.sentence():
        console.print(sentence)
    trained(features, settings).folded().save(chosen.out)


if __name__ == "__main__":
    main()
