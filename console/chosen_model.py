"""The model pack that this engine's recognisers run on: the setting, the site's choice, or the shipped one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console.data_folder import DataFolder
from console.settings import EngineSettings
from events.errors import CallwardenError
from recognizer.acoustic_model import AcousticModelError
from recognizer.model_check import ModelRefused
from recognizer.model_pack import ModelPackError
from recognizer.model_store import ModelStore
from recognizer.onnx_session import OnnxError
from recognizer.second_recogniser import SecondRecogniserError


class ModelNotUsable(CallwardenError):
    """A model pack is not there, cannot be used, or cannot be added."""


@contextmanager
def told_in_one_sentence() -> Iterator[None]:
    """Turn what the recogniser says of a pack into `ModelNotUsable`."""
    try:
        yield
    except (ModelPackError, ModelRefused, AcousticModelError, OnnxError, SecondRecogniserError) as error:
        raise ModelNotUsable(str(error)) from None


def chosen_pack(data: DataFolder, settings: EngineSettings) -> Path:
    """Return the folder of the pack to recognise with.

    Raises
    ------
    ModelNotUsable
        The pack that was chosen is not there.
    """
    with told_in_one_sentence():
        return ModelStore(data.models).in_use(settings.model).folder
