"""How well the recogniser does, measured: ``python -m recognizer.evaluation``.

In the order in which a recording meets them: ``test_set`` (which recordings, what was said), ``audio_file`` (sound at
8 kHz), ``telephone_channel`` (what a telephone line leaves of it), ``systems`` (our recogniser, streaming, and
PocketSphinx as a peer), ``word_errors`` (recognised against said), ``measurement`` (one set's figures), ``report``
(table and JSON), ``__main__`` (the command).
"""

import os

# The network's products are small: with a thread pool they take ten times the processor time. Set before numpy is.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
