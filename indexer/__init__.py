"""One call's events become one document that people search.

Files, in the order in which a datum meets them:

worker          the stage: takes a call's records, puts its document once a batch
fold            one record onto one document, in any order, any number of times
index           the CallIndex protocol: what is stored, asked and answered
summary         the few fields of a document that lists and filters need
query_text      what a person types into the search box, as a tree
sqlite_schema   tables of the embedded driver
sqlite_search   a query as SQL, rows as hits
sqlite_index    the embedded driver (SQLite FTS5)
"""
