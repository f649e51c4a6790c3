"""The training itself: several processes that move one set of shared weights without waiting for each other.

Hogwild (Recht et al., 2011): on processors whose cores are shared with other work, two processes of one thread each
learn more per second than two threads of one process. On a GPU one process trains. The weights that are kept are an
average over the last steps (a window that grows with the training).

The rate rises over the first steps and then falls linearly to zero over the planned amount of audio, so an unfinished
training is worth little: to go on with one, everything is saved every few minutes and `resume` takes it up.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, multiprocessing
from torch.nn import functional

from recognizer.training.batches import Batches, Distortion, Example
from recognizer.training.denominator import DenominatorGraph
from recognizer.training.network import Network, NetworkShape
from recognizer.training.objective import Objective
from recognizer.training.optimiser import Optimiser

_FRAME_HOURS: Final = 0.03 / 3600
_POLL_S: Final = 1.5


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes
    ----------
    shape : NetworkShape
    hours : float
        Audio to hear in all, over all passes.
    rate, weight_decay : float
    warm_up_steps : int
        Per process.
    sequences : int
        Of a batch.
    cross_entropy : (float, float)
        Weight of the cross-entropy at the beginning and after a twelfth of the training.
    leak : float
        Of the denominator.
    output_decay : float
        Weight of the squared chain outputs, which keeps them near their mean.
    tolerance : (int, int)
        Output frames.
    dropout : float
        Most of it; it rises over the first fifth, falls after the middle, and is 0 at the end.
    distortion : Distortion
    processes : int
    device : str
    half : bool
    seed : int
    save_every_s : float
    """

    shape: NetworkShape = field(default_factory=NetworkShape)
    hours: float = 250.0
    rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up_steps: int = 150
    sequences: int = 32
    cross_entropy: tuple[float, float] = (0.5, 0.1)
    leak: float = 0.1
    output_decay: float = 5e-5
    tolerance: tuple[int, int] = (2, 2)
    dropout: float = 0.1
    distortion: Distortion = field(default_factory=Distortion)
    processes: int = 2
    device: str = "cpu"
    half: bool = True
    seed: int = 1
    save_every_s: float = 300.0

    def rate_at(self, done: float, step: int) -> float:
        """Return the learning rate after the share `done` of the training, at a process's `step`."""
        return self.rate * min(1.0, (step + 1) / self.warm_up_steps) * max(0.0, 1.0 - done) + 1e-6

    def dropout_at(self, done: float) -> float:
        """Return the dropout after the share `done`."""
        rising = min(1.0, done / 0.2)
        return self.dropout * (rising if done < 0.5 else max(0.0, (0.95 - done) / 0.45))

    def cross_entropy_at(self, done: float) -> float:
        """Return the weight of the cross-entropy after the share `done`."""
        first, last = self.cross_entropy
        return last + (first - last) * max(0.0, 1.0 - done * 12)


@dataclass(frozen=True)
class Point:
    """One row of the learning curve.

    Attributes
    ----------
    hours : float
        Audio heard so far.
    seconds : float
        Wall time of this and earlier runs.
    train_objective, dev_objective : float
        Log probability ratio per output frame.
    dev_cross_entropy, dev_accuracy : float
        Of the second output against the numerator's posteriors.
    """

    hours: float
    seconds: float
    train_objective: float
    dev_objective: float
    dev_cross_entropy: float
    dev_accuracy: float


@dataclass
class _Shared:
    """What the processes tell: per process frames heard, steps, and a moving mean of the objective."""

    frames: Tensor
    steps: Tensor
    objective: Tensor
    stop: Tensor

    @classmethod
    def of(cls, processes: int) -> _Shared:
        def numbers() -> Tensor:
            return _shared(torch.zeros(processes, dtype=torch.float64))

        return cls(numbers(), numbers(), numbers(), _shared(torch.zeros(1)))


def _shared(tensor: Tensor) -> Tensor:
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


class Trainer:
    """Trains one network.

    Parameters
    ----------
    train, dev : sequence of Example
    graph : DenominatorGraph
    self_loop : float32[leaves]
    settings : TrainingSettings
    folder : Path
        For checkpoints: ``state.pt`` and ``curve.json``.
    """

    def __init__(
        self,
        train: Sequence[Example],
        dev: Sequence[Example],
        graph: DenominatorGraph,
        self_loop: np.ndarray,
        settings: TrainingSettings,
        folder: Path,
    ) -> None:
        torch.manual_seed(settings.seed)
        self._train, self._dev = train, dev
        self._graph, self._self_loop = graph, self_loop
        self._settings = settings
        self._folder = folder
        self.network = Network(settings.shape, 2 * len(self_loop), settings.half).to(settings.device)
        self.average = copy.deepcopy(self.network)
        self.curve: list[Point] = []
        self._heard_before = 0.0
        self._seconds_before = 0.0

    def resume(self) -> bool:
        """Take up what an earlier run saved; False when there is nothing."""
        path = self._folder / "state.pt"
        if not path.exists():
            return False
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._heard_before, self._seconds_before = float(state["hours"]), float(state["seconds"])
        rows = json.loads((self._folder / "curve.json").read_text("utf-8"))
        self.curve = [Point(**row) for row in rows]
        return True

    def run(self, progress: Callable[[float, Point | None], None]) -> None:
        """Train to the planned hours; tells `progress` the hours heard, and each new point of the curve."""
        settings = self._settings
        shared = _Shared.of(settings.processes)
        context: Any = multiprocessing.get_context("fork" if settings.device == "cpu" else "spawn")
        self.network.share_memory()
        workers = [
            context.Process(target=self._work, args=(number, shared), daemon=True)
            for number in range(settings.processes)
        ]
        if settings.device == "cpu":
            self._compile()
        began = last = time.monotonic()
        saved = began
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers):
                workers[0].join(_POLL_S)
                now = time.monotonic()
                self._follow(now - last, now - began + self._seconds_before)
                last = now
                point = None
                if now - saved >= settings.save_every_s:
                    point = self._point(shared, now - began)
                    self._save(point)
                    saved = time.monotonic()
                progress(self._hours(shared), point)
            failed = [worker.exitcode for worker in workers if worker.exitcode]
            if failed:
                raise RuntimeError(f"A training process ended with status {failed[0]}.")
            point = self._point(shared, time.monotonic() - began)
            self._save(point)
            progress(point.hours, point)
        finally:
            shared.stop.fill_(1)
            for worker in workers:
                worker.join(30)

    def _hours(self, shared: _Shared) -> float:
        return self._heard_before + float(shared.frames.sum()) * _FRAME_HOURS

    def _follow(self, elapsed: float, seconds: float) -> None:
        """Move the average towards the weights: a window of a twenty-fifth of the time so far."""
        share = 1 - float(np.exp(-elapsed / max(2.0, 0.04 * seconds)))
        average, present = self.average.state_dict(), self.network.state_dict()
        for name, value in average.items():
            value.lerp_(present[name], share)

    def _work(self, number: int, shared: _Shared) -> None:
        settings = self._settings
        torch.set_num_threads(1)
        seed = settings.seed * 1000 + number + int(self._heard_before * 10)
        torch.manual_seed(seed)
        batches = Batches(
            self._train, settings.shape, settings.sequences, settings.tolerance, settings.distortion, seed
        )
        objective = Objective(self._graph, self._self_loop, settings.leak)
        optimiser = Optimiser(self.network.named_parameters(), settings.weight_decay)
        self.network.train()
        while True:
            for length, places in batches.one_pass():
                done = self._hours(shared) / settings.hours
                if done >= 1 or bool(shared.stop):
                    return
                features, chunks = batches.load(length, places)
                self.network.set_dropout(settings.dropout_at(done))
                step = int(shared.steps[number])
                value, frames = self._step(
                    features, chunks, objective, optimiser, settings.rate_at(done, step), done
                )
                shared.frames[number] += length * len(places)
                if frames:
                    shared.steps[number] += 1
                    weight = 0.02 if step > 50 else 1 / (step + 1)
                    shared.objective[number] += weight * (value / frames - shared.objective[number])

    def _step(
        self, features: Tensor, chunks: Any, objective: Objective, optimiser: Optimiser, rate: float, done: float
    ) -> tuple[float, int]:
        settings = self._settings
        chain, cross = self.network(features.to(settings.device))
        with torch.no_grad():
            outcome = objective.of(chain, chunks)
            if not outcome.frames:
                return 0.0, 0
            gradient = (outcome.gradient + 2 * settings.output_decay * chain) / outcome.frames
            weight = settings.cross_entropy_at(done) / outcome.frames
            probability = functional.softmax(cross, 2)
            to_cross = (probability * outcome.numerator.sum(2, keepdim=True) - outcome.numerator) * weight
        self.network.zero_grad()
        torch.autograd.backward((chain, cross), (gradient, to_cross))
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        optimiser.step(rate)
        return outcome.objective, outcome.frames

    def _compile(self) -> None:
        """Compile the kernels once before the processes fork."""
        batches = Batches(self._dev, self._settings.shape, 16, self._settings.tolerance, None, 0)
        for length, places in batches.one_pass()[:1]:
            _, chunks = batches.load(length, places)
            outputs = torch.zeros(length, len(places), 2 * len(self._self_loop))
            Objective(self._graph, self._self_loop, self._settings.leak).of(outputs, chunks)

    def _point(self, shared: _Shared, seconds: float) -> Point:
        dev_objective, cross_entropy, accuracy = self.measure(self.average)
        return Point(
            self._hours(shared),
            seconds + self._seconds_before,
            float(shared.objective.mean()),
            dev_objective,
            cross_entropy,
            accuracy,
        )

    @torch.no_grad()
    def measure(self, network: Network) -> tuple[float, float, float]:
        """Return objective, cross-entropy and accuracy per frame of the development examples."""
        network.eval()
        batches = Batches(self._dev, self._settings.shape, 16, self._settings.tolerance, None, 0)
        objective = Objective(self._graph, self._self_loop, self._settings.leak)
        total = entropy = right = 0.0
        frames = 0
        for length, places in batches.one_pass():
            features, chunks = batches.load(length, places)
            chain, cross = network(features.to(self._settings.device))
            outcome = objective.of(chain, chunks)
            total += outcome.objective
            frames += outcome.frames
            entropy -= float((functional.log_softmax(cross, 2) * outcome.numerator).sum())
            right += float((cross.argmax(2) == outcome.numerator.argmax(2)).sum())
        frames = max(frames, 1)
        return total / frames, entropy / frames, right / frames

    def _save(self, point: Point) -> None:
        self.curve.append(point)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "hours": point.hours,
            "seconds": point.seconds,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, self._folder / "state.new")
        (self._folder / "state.new").replace(self._folder / "state.pt")
        text = json.dumps([asdict(each) for each in self.curve], indent=1)
        (self._folder / "curve.json").write_text(text, "utf-8")
