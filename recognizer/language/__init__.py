"""Language models: from text to n-grams (``python -m recognizer.language``).

In the order in which a text meets them: ``text_sources`` (named public repositories and plain files), ``spoken_text``
(print to spoken words), ``held_out`` (nothing of a test may be learned), ``new_words``, ``vocabulary``, ``ngram_counts``,
``kneser_ney``, ``mixture`` (weights by expectation maximisation, one model of several), ``pruning``, ``arpa_file``,
``perplexity``, and ``compact_model``, the quantised form that rescoring reads. All of them speak of
``backoff_model.BackoffModel``.
"""
