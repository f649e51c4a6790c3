"""How well the recogniser does, measured: ``python -m recognizer.evaluation``.

In the order in which a recording meets them: ``test_set`` (which recordings, what was said), ``audio_file`` (sound at
8 kHz), ``telephone_channel`` (what a telephone line leaves of it), ``systems`` (our recogniser, streaming, and
PocketSphinx as a peer), ``word_errors`` (recognised against said), ``measurement`` (one set's figures), ``report``
(table and JSON), ``__main__`` (the command).
"""
