"""Public speech corpora, from git repositories to one folder that the training reads.

In the order in which a recording meets them: ``sources`` (the table: where, what licence, who is tested on),
``git_mirror`` and ``debian_package`` (bytes), ``transcripts`` (words), ``call_segments`` (utterances of whole calls),
``sound`` (checks), ``gather`` (the folder), ``summary`` (what came of it).
"""
