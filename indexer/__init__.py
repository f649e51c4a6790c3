"""One call's events become one document that people search.

Files, in the order in which a datum meets them:

worker          the stage: takes a call's records, puts its document once a batch
fold            one record onto one document, in any order, any number of times
index           the CallIndex protocol: what is stored, asked and answered
summary         the few fields of a document that lists and filters need
speaker_parts   who of two speakers on one leg said which words
query_text      what a person types into the search box, as a tree
retention       old calls leave the index, a step at a time
rebuild         the index made anew from the log, beside a running indexer

sqlite_schema   tables of the embedded driver
sqlite_search   a query as SQL, rows as hits
sqlite_upkeep   old calls out, documents written anew, in short steps
sqlite_index    the embedded driver (SQLite FTS5)

elastic_settings    what can be set of the distributed driver
elastic_connection  requests and answers; the only file that knows the client library
elastic_schema      names and shapes of what is made in the cluster; mappings/ holds the mapping itself
elastic_layout      makes it where it is missing, and looks at what is there
elastic_document    a document as the index holds it, and back
elastic_places      in which month each call is, and which are forgotten
elastic_writer      bounded bulks, each document only onto the revision that it may replace
elastic_query       a query as Elasticsearch's language
elastic_search      asks it, page after page
elastic_page        its answer as hits, highlights and facets
elastic_expunge     drives forgotten words out of its files
elastic_rebuild     every month into a new mapping while others search and put
elastic_upkeep      old months out, and what there is
elastic_index       the distributed driver (Elasticsearch)
"""
