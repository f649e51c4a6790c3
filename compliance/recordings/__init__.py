"""Recordings: bleeped, sealed under the call's record key, played without being decrypted whole.

Files, in the order in which a call meets them:

archive           the stage: waits for audio and transcript, keeps the recording, destroys the capture key
call_audio        a live call's blocks, in memory and sealed in scratch files
render            blocks to windows of one timeline, and their waveform overview
bleep             which stretches are hidden, and with what
sealed_recording  the file: sealed chunks that open one by one
kept_marks        which calls are done with while their capture key lives on
reader            a kept recording as a WAV file with random access
"""
