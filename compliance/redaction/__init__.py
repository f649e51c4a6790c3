"""Redaction: the one stage that may read the raw transcript.

Files, in the order in which a word meets them:

stage             `transcript.raw` in, redacted and partial segments out; replay, hold-back's commit
redactor          one call: order, hold-back, revisions
partials          cheap, rather too strict rules for partial segments
spans             the recent conversation as finders see it; hits
number_words      vocabulary of spoken numbers and letters
spoken_numbers    words -> tokens -> digits, knowing which words each came from
digit_runs        runs of digits of one leg, across fillers, corrections and recognition errors
requests          "what is your card number", "the three digits on the back"
number_sessions   runs and requests of both legs -> numbers with a kind
finders           the protocol of finders, and the one of numbers
spelled           e-mail addresses and spelled letters
name_cues, names  people's names by cues and by the lists in first_names.txt, last_names.txt, also_words.txt
normalised_text   a leg's words in figures, with the way back to the words
presidio_finder   Presidio's recognisers on that text
placeholders      Presidio's anonymizer: hidden words -> typed placeholders
memory            what a call's redactor remembers beyond its window
settings          strengths, hold-back, what to hide
"""
