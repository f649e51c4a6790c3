"""SIP legs in, ordered G.711 audio blocks out: calls as they happen, and recordings of calls.

Files, in the order in which a datum meets them:

sockets           SIP and RTP sockets, opened by whoever outlives capture
sip_transport     datagrams and TCP connections
sip_stream        messages cut out of a TCP stream
sip_message       one SIP message, parsed and written
sip_transaction   repeats answered alike, answers repeated until acknowledged
endpoint          what capture and a SIP endpoint ask of each other
sip_endpoint      the built-in one: INVITE, re-INVITE, UPDATE, ACK, BYE, CANCEL, OPTIONS
sip_answers       what we can do, session timers
sip_refusals      what was refused, counted and told
sip_dialog        a dialog, storable
sip_outgoing      requests of ours: BYE
pjsua_endpoint    the one on PJSIP: its signalling, our media
pjsua_stack       PJSIP on a thread of its own (the only file that imports pjsua2)
pjsua_settings    TLS, registration, NAT
pjsua_log         PJSIP's log, without addresses and numbers
sdp               offers and our answers
siprec            multipart bodies, recording metadata, who speaks on which stream
call_desk         offers and metadata into plans, ports and answers
plan              what signalling has agreed about a call, as data
rtp               one RTP packet; numbers that wrap
datagrams         recvmmsg from inside the kernel, sources, each datagram to its leg
leg               a leg's state: one row of arrays
jitter            placement by RTP timestamp, and the timeline cut into blocks
receiver          epoll and kernels of all legs
live_call         a call's lifecycle, and what a crash interrupted
media             the thread that turns plans and packets into records
journal           records into the event log, whatever happens
call_store        what capture must still know after a crash
capture           the process: signalling, media and journal

source            the protocols of call sources and their sinks
sink              straight into the log, or counted
recorded_source   recorded calls as a source
recorded_wav      WAV files, read strictly
caller            a small caller that places calls, for the demo and the benches
"""
