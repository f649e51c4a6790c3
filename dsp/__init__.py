"""Arrays in, arrays out, no input or output: signal processing at 8 kHz as numba kernels under checked functions.

Files, in the order in which a datum meets them:

g711          payload bytes to samples and back
resample      any rate of recordings and codecs to 8 kHz and back, streaming
speech_level  how loud a leg is, and a plain measure of activity
front_end     blocks of the event log to chunks, the legs of a call in step
bleep         ranges of samples hidden under a tone or silence; the overview of a waveform
"""
