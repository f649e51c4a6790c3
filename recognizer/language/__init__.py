"""Language models: from text to n-grams (``python -m recognizer.language``).

In the order in which a text meets them: ``text_sources`` (named public repositories and plain files), ``spoken_text``
(print to spoken words), ``held_out`` (nothing of a test may be learned), ``new_words``, ``vocabulary``,
``ngram_counts``, ``kneser_ney``, ``mixture`` (weights by expectation maximisation, one model of several), ``pruning``,
``arpa_file``, ``perplexity``; ``training_run`` takes a text all that way. ``compact_model`` is the quantised form that
rescoring and graphs read. All of them speak of ``backoff_model.BackoffModel``.
"""
