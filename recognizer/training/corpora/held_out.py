"""Who is never trained or tuned on. The one place that names them: every reader's recordings pass through here."""

from __future__ import annotations

from typing import Final

from recognizer.training.corpora.recording import Recording

LIBRISPEECH_SPEAKERS: Final = frozenset({"84", "251", "422", "777", "1462", "1919"})
LIBRISPEECH_SETS: Final = frozenset({"dev-other", "test-clean", "test-other"})
LIBRISPEECH_DEV_SPEAKERS: Final = frozenset({"1993", "2086"})
"""For tuning: read from dev-clean as split ``dev``; the rest of dev-clean is training material here."""
FSDD_SPEAKERS: Final = frozenset({"theo"})
TEST_SPLITS: Final = frozenset({"test", "reserved"})

_SPEAKERS: Final = {f"librispeech-{speaker}" for speaker in LIBRISPEECH_SPEAKERS} | {
    f"fsdd-{speaker}" for speaker in FSDD_SPEAKERS
}
_CORPORA: Final = {f"librispeech-{name}" for name in LIBRISPEECH_SETS}


def is_held_out(recording: Recording) -> bool:
    """Whether `recording` is for the final figures alone.

    That is any corpus's test split (speechocean762's and Common Voice's among them), LibriSpeech's dev-other and
    test sets, and the speakers named here wherever they turn up, whatever split a manifest claims for them.
    """
    return recording.split in TEST_SPLITS or recording.speaker in _SPEAKERS or recording.corpus in _CORPORA
