"""Corpora to train and adapt on, each read by its layout into the same `Recording`.

In the order a recording meets them: one reader per layout (``manifest``, ``librispeech``, ``common_voice``,
``harper_valley``, ``site_calls``), ``spoken_form`` (its transcript as the lexicon's words), ``held_out`` (who is never
trained on), ``recording`` (what all of it becomes, and its samples), ``reading`` (the door to all of them).
"""
