"""The first run of a model from elsewhere, in a process of its own with limits on memory and time.

    python -m recognizer.model_check inspect FOLDER
    python -m recognizer.model_check load FOLDER

``inspect`` looks at the one ONNX file of FOLDER, makes or completes its section ``acoustic`` and runs some chunks;
``load`` does with a whole pack what a recogniser would do. Both print one line of JSON: ``{"section": ..., "columns":
..., "share": ...}``, or ``{"refused": SENTENCE}``. `share` is computing time per audio time.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from recognizer.acoustic_section import (
    METADATA_KEY,
    AcousticSection,
    FeatureSection,
    section_from_json,
)
from recognizer.features import FeatureStatistics

DESCRIPTION: Final = "model.json"
_ICEFALL: Final = ("zipformer2", "zipformer")
_ICEFALL_RATE: Final = 16000
_RESTART_FRAMES: Final = 6000
_WARM_UP_FRAMES: Final = 1000
"""A state that never forgets begins anew every minute, and ten seconds before: icefall's look back at most 2.6 s a
layer, so that little is left of the difference."""
_MEMORY_BYTES: Final = 8 << 30
_SECONDS: Final = 300
_OUTPUT_BYTES: Final = 1 << 20
_CHUNKS: Final = 24
_MOST_DESCRIPTION_BYTES: Final = 1 << 16


class ModelRefused(ValueError):
    """The model does not fit; one sentence says why."""


@dataclass(frozen=True)
class Checked:
    """What the first run found.

    Attributes
    ----------
    section : AcousticSection
    columns : int
        Of the model's output.
    share : float
        Computing time per audio time, on one core.
    """

    section: AcousticSection
    columns: int
    share: float


def check_here(what: str, folder: Path) -> Checked:
    """Do `what` (``inspect`` or ``load``) with `folder` in this process, without limits.

    Raises
    ------
    ModelRefused
        The model does not fit.
    """
    try:
        return {"inspect": inspect_folder, "load": load_pack}[what](folder)
    except ModelRefused:
        raise
    except MemoryError:
        raise ModelRefused("The model takes more memory than it is allowed.") from None
    except KeyError as error:
        raise ModelRefused(f"The model lacks {error}.") from None
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise ModelRefused("The model takes more memory than it is allowed.") from None
        raise ModelRefused(str(error)) from None
    except ValueError as error:
        raise ModelRefused(str(error)) from None


def check_apart(what: str, folder: Path, seconds: float = _SECONDS, memory_bytes: int = _MEMORY_BYTES) -> Checked:
    """Do `what` (``inspect`` or ``load``) with `folder` in a process of its own.

    Raises
    ------
    ModelRefused
        The model does not fit, takes too long, too much memory, or brings the process down.
    """
    # Only what Python needs: a model has no business with keys or passwords in the environment.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "NUMBA_CACHE_DIR") if name in os.environ}
    command = [sys.executable, "-m", "recognizer.model_check", what, str(folder)]
    with tempfile.TemporaryDirectory(prefix="model-check-") as cache, tempfile.TemporaryFile() as told:
        environment = {
            **kept,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "CALLWARDEN_CACHE": cache,
            "CALLWARDEN_CHECK_MEMORY": str(memory_bytes),
            "CALLWARDEN_CHECK_SECONDS": str(int(seconds) + 1),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        try:
            ended = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.DEVNULL,
                timeout=seconds, check=False, cwd=cache,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ModelRefused(f"The model's dry run was not over after {seconds:g} s.") from None
        told.seek(0)
        return _understood(told.read(_OUTPUT_BYTES), ended.returncode, seconds)


def _understood(told: bytes, status: int, seconds: float) -> Checked:
    if status == -signal.SIGXCPU or status == -signal.SIGKILL:
        raise ModelRefused(f"The model's dry run was ended: it takes more than {seconds:g} s or too much memory.")
    try:
        answer = json.loads(told)
        if "refused" in answer:
            raise ModelRefused(str(answer["refused"]))
        section = section_from_json(json.dumps(answer["section"]), "the dry run")
        return Checked(section, int(answer["columns"]), float(answer["share"]))
    except ModelRefused:
        raise
    except (ValueError, KeyError, TypeError):
        raise ModelRefused(f"The model's dry run came to no end of its own (status {status}).") from None


def inspect_folder(folder: Path) -> Checked:
    """Look at the ONNX model in `folder` and run it for a moment; see :func:`check_apart`.

    Raises
    ------
    ModelRefused
        It does not fit.
    """
    from recognizer.onnx_file import inspect

    path = the_onnx_file(folder)
    facts = inspect(path)
    section = _described(folder, path, facts.metadata)
    fields = {name: getattr(section, name) for name in section.__struct_fields__}
    section = AcousticSection(**{**fields, "file": path.name, "data": facts.data})
    return dry_run(folder, section)


def the_onnx_file(folder: Path) -> Path:
    """Return the one ``*.onnx`` of `folder`; raises ModelRefused."""
    found = sorted(path for path in folder.iterdir() if path.suffix == ".onnx")
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ModelRefused(f"The folder must hold one ONNX model; it holds {names}.")
    return found[0]


def _described(folder: Path, path: Path, metadata: dict[str, str]) -> AcousticSection:
    description = folder / DESCRIPTION
    if description.is_file():
        if description.stat().st_size > _MOST_DESCRIPTION_BYTES:
            raise ModelRefused(f"The description {DESCRIPTION} is larger than 64 KiB.")
        return section_from_json(description.read_bytes(), DESCRIPTION)
    if METADATA_KEY in metadata:
        return section_from_json(metadata[METADATA_KEY], f"the metadata of {path.name}")
    if metadata.get("model_type") in _ICEFALL:
        return icefall_section(path, metadata)
    raise ModelRefused(
        f"Nothing says how {path.name} is to be run: there is no {DESCRIPTION}, and its metadata name neither "
        "callwarden nor a streaming zipformer of icefall."
    )


def icefall_section(path: Path, metadata: dict[str, str]) -> AcousticSection:
    """Return how a streaming CTC zipformer that icefall exported is run.

    Its metadata tell the chunk (``T`` feature frames, of which ``decode_chunk_len`` are new); the rows of a chunk are
    counted in a first run.
    """
    from recognizer.onnx_session import OnnxSession

    try:
        window, shift = int(metadata["T"]), int(metadata["decode_chunk_len"])
    except (KeyError, ValueError):
        raise ModelRefused(
            f"The metadata of {path.name} lack decode_chunk_len or T, which icefall's streaming exports have."
        ) from None
    if not 0 < shift <= window <= _RESTART_FRAMES:
        raise ModelRefused(f"Chunks of {window} feature frames with a shift of {shift} cannot be run.")
    session = OnnxSession(path)
    given = {port.name: port for port in session.inputs}
    x = given.get("x")
    if x is None or len(x.shape) != 3 or x.shape[2] is None:
        raise ModelRefused(
            f"The input x of {path.name} is not (batch, frames, bins), as icefall's exports have it."
        )
    if "log_probs" not in {port.name for port in session.outputs}:
        raise ModelRefused(f"The model {path.name} has no output log_probs: it is no CTC export of icefall.")
    feeds = {
        name: np.zeros([1 if n is None else n for n in port.shape], port.dtype)
        for name, port in given.items()
        if name != "x"
    }
    feeds["x"] = np.zeros((1, window, x.shape[2]), np.float32)
    rows = session.run(["log_probs"], feeds)[0].shape[1]
    if not rows or shift % rows:
        raise ModelRefused(
            f"The model {path.name} gives {rows} rows for {shift} feature frames, no whole number each."
        )
    restart = -(-_RESTART_FRAMES // shift)
    return AcousticSection(
        "onnx-ctc", path.name, _ICEFALL_RATE, 10 * shift // rows, 1.0, FeatureSection("kaldi-fbank", x.shape[2]),
        window, shift, padding="silence", memory_chunks=min(restart - 1, -(-_WARM_UP_FRAMES // shift)),
        restart_chunks=restart, output="log-probabilities",
    )  # fmt: skip


def dry_run(folder: Path, section: AcousticSection) -> Checked:
    """Run the model over some seconds of noise between silences, twice.

    Raises
    ------
    ModelRefused
        Rows are not what the section says, are not finite, or are not the same the second time.
    """
    from recognizer.model_pack import read_statistics
    from recognizer.onnx_acoustic import OnnxAcousticModel

    statistics: FeatureStatistics | None = None
    if section.features.kind == "callwarden" and (folder / section.topology).is_file():
        statistics = read_statistics(folder / section.topology)
    model = OnnxAcousticModel(folder / section.file, section, statistics)
    samples = section.shift_frames * _CHUNKS * 80
    audio = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    audio[: samples // 4] = audio[-samples // 4 :] = 0
    features = model.features().accept(audio)
    runs: list[Any] = []
    began = time.perf_counter()
    for _ in range(2):
        stream = model.stream()
        runs.append(np.concatenate([stream.accept(features), stream.finish()]))
    share = (time.perf_counter() - began) / (2 * samples / 8000)
    rows = runs[0]
    if not np.isfinite(rows).all():
        raise ModelRefused("The model's output is not finite.")
    if not np.array_equal(runs[0], runs[1]):
        raise ModelRefused("The model does not give the same output for the same audio.")
    _check_rows(np.exp(rows.astype(np.float64) / section.scale).sum(axis=1), section)
    return Checked(section, model.pdfs, share)


def _check_rows(sums: Any, section: AcousticSection) -> None:
    if section.output == "log-likelihoods" and section.kind != "onnx-ctc":
        return
    furthest = float(sums[np.abs(sums - 1).argmax()])
    if abs(furthest - 1) > 0.01:
        raise ModelRefused(
            f"The model's output is not made of {section.output.replace('-', ' ')}: "
            f"a row sums to {furthest:.3g}, not to 1."
        )


def load_pack(folder: Path) -> Checked:
    """Do with a whole pack what a recogniser does; see :func:`check_apart`."""
    from recognizer.model_pack import ModelPack, verify_files
    from recognizer.onnx_file import inspect
    from recognizer.rescoring_models import rescorer_of_pack

    verify_files(folder)
    section = _manifest_section(folder)
    if section.kind != "tdnnf":
        facts = inspect(folder / section.file)
        if set(facts.data) - set(section.data):
            raise ModelRefused("The ONNX model keeps tensors in files that the manifest does not name.")
    pack = ModelPack.load(folder)
    columns = pack.open_acoustic().pdfs
    if columns != pack.graph.pdfs:
        raise ModelRefused(f"The acoustic model has {columns} outputs, the graph {pack.graph.pdfs}.")
    rescorer_of_pack(pack)
    if section.kind == "tdnnf":
        return Checked(section, columns, 0.0)
    return dry_run(folder, section)


def _manifest_section(folder: Path) -> AcousticSection:
    from recognizer.acoustic_section import section_of
    from recognizer.model_pack import read_manifest

    return section_of(read_manifest(folder))


def _limit() -> None:
    """Take limits on memory, time and the size of files, for everything that follows in this process."""
    memory, seconds = (int(os.environ.get(f"CALLWARDEN_CHECK_{name}", 0)) for name in ("MEMORY", "SECONDS"))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    _limit()
    what, folder = arguments
    try:
        checked = check_here(what, Path(folder))
    except ModelRefused as error:
        answer: dict[str, Any] = {"refused": str(error)}
    else:
        section = msgspec.to_builtins(checked.section)
        answer = {"section": section, "columns": checked.columns, "share": checked.share}
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
