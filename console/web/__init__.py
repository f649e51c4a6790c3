"""The console's pages: server-rendered, with a little script for the player and the live pages.

Files, in the order in which a request meets them:

app              the table of all pages and who may open them; headers of every answer
access           session, role and form checks; what is not listed is refused; error pages
sessions         server-side sessions
services         what the pages ask of the rest of the engine
sign_in          log-in, log-out
account          one's own password
search_form      the search page's address, parsed and written
search_page      officer: search
call_page        officer: one call and its export
transcript_view  words with their times, findings and placeholders
waveform         the picture of a call
playback         officer: the recording in pieces
live_turn        one utterance of a call in progress, as it was spoken and for reading
live_call        what is known of one call in progress
live_messages    what open live pages are told, and its form on the wire
live_feed        calls in progress and alerts, tailed from the event log
live_pages       supervisor: calls in progress and their streams
alert_pages      supervisor: alerts and answers
audit_pages      auditor: the access log
audit_proof      auditor: checkpoints, verification, exports
administration   administrator: users, health
operations       /healthz and /metrics
render           templates/, and how times, names and numbers are written
static/          one style sheet, three scripts, nothing from elsewhere
"""
