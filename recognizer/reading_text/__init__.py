"""Text for people to read, beside the words as they were recognised: figures, dates, money, sentences, capitals.

Only what is shown changes. Every token tells which of the raw words it stands for (and so when they were said);
rules, redaction and search go on with the raw words. Redacted words may be given as well: typed placeholders such as
``[CARD_NUMBER]`` stay what they are.

In the order in which a word meets them: ``reading_token`` (what comes out), ``number_grammar`` (spoken numbers),
``amounts``, ``dates``, ``digit_strings``, ``letters`` and ``addresses`` (rules that write some words in another way),
``open_end`` (words of which more will follow), ``written_form`` (all rules over a segment), ``sentence_features`` and
``sentence_model`` (a small linear model that places commas, full stops, question marks and capitals), ``reading`` (one
segment from words to tokens), ``settled`` (what is certain of one that is being spoken), ``profanity`` (masking for
display, off by default). Beforehand: ``training_text`` and ``train`` make the model.
"""
