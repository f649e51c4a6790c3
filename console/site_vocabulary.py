"""What this engine's recognisers are told beside their model: the site's vocabulary and its rulebooks' phrases."""

from __future__ import annotations

from pathlib import Path

from compliance.rules.rule import phrases_of
from compliance.rules.rulebook import load_rulebooks
from console.data_folder import DataFolder
from console.settings import Settings
from recognizer.vocabulary import VocabularyFile
from recognizer.vocabulary_install import VocabularySources


def vocabulary_file(data: DataFolder) -> VocabularyFile:
    """Return the site's vocabulary on disk."""
    return VocabularyFile(data.root / "vocabulary" / "vocabulary.json")


def vocabulary_sources(data: DataFolder, settings: Settings) -> VocabularySources:
    """Gather the vocabulary and the phrases that the active rulebooks look for.

    Raises
    ------
    VocabularyError, RulebookError
        One of the files cannot be used.
    """
    return VocabularySources(
        vocabulary_file(data).read(), _looked_for(tuple(settings.rules.rulebooks)), settings.vocabulary
    )


def _looked_for(rulebooks: tuple[Path, ...]) -> tuple[tuple[str, ...], ...]:
    found = {
        sequence: None
        for book in load_rulebooks(rulebooks)
        for rule in book.rules
        for phrase in phrases_of(rule.when)
        for sequence in phrase.sequences
    }
    return tuple(found)
