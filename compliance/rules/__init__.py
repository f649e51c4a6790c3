"""Rules: what must and must not be said, and whether it was.

Files, in the order in which a datum meets them:

phrase          the small language of phrases, and what they expand to
rule            the tree of conditions, a rule, a rulebook
yaml_source     YAML with the line of every value
rulebook        a YAML file to a Rulebook, or to problems that name file, line and field
rulebooks/      the rulebooks that come with callwarden
matcher         words in, phrase hits out: all phrases of all rules at once
timing          what has been heard of a call so far, in call time
evaluate        a tree of conditions over the hits
judge           one call's records in, findings out
examples        runs the examples that a rulebook brings
stage           the judges of all open calls as a stage
"""
