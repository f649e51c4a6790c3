"""What this engine's recognisers are told beside their model: the site's vocabulary and its rulebooks' phrases."""

from __future__ import annotations

import logging
from pathlib import Path

from compliance.rules.rule import phrases_of
from compliance.rules.rulebook import load_rulebooks
from console.data_folder import DataFolder
from console.settings import Settings
from events.errors import CallwardenError
from recognizer.model_pack import ModelPack
from recognizer.vocabulary import VocabularyFile
from recognizer.vocabulary_install import VocabularySources, WordsNotTaken, with_vocabulary

_log = logging.getLogger(__name__)


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


def with_site_vocabulary(pack: ModelPack, data: DataFolder, settings: Settings) -> tuple[ModelPack, str]:
    """Return the pack with this site's words in it.

    Returns
    -------
    pack : ModelPack
        The same one where its kind of model takes no words, or something is wrong with them: recognition goes on
        without, for words without a vocabulary are better than none.
    why_without : str
        Why that is so, in a sentence that holds none of the words; empty where nobody's words are missing.
    """
    sources = None
    try:
        sources = vocabulary_sources(data, settings)
        return with_vocabulary(pack, sources), ""
    except WordsNotTaken as error:
        if sources is not None and not sources.vocabulary.entries:
            _log.info("What rulebooks look for is not made likelier. %s", error)
            return pack, ""
        why = str(error)
    except CallwardenError as error:
        why = str(error)
    except Exception as error:
        # Whatever is wrong with words must not keep calls from being recognised. A text could hold one of them.
        why = f"The vocabulary was not put into the graph: {type(error).__name__}."
    return pack, f"Recognition goes on without the site's vocabulary. {why}"


def _looked_for(rulebooks: tuple[Path, ...]) -> tuple[tuple[str, ...], ...]:
    found = {
        sequence: None
        for book in load_rulebooks(rulebooks)
        for rule in book.rules
        for phrase in phrases_of(rule.when)
        for sequence in phrase.sequences
    }
    return tuple(found)
