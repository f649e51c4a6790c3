"""Who speaks when in a mono recording of two parties (legs have their roles already and need none of this).

In the order a recording meets them: ``speech_activity`` (where anybody speaks), ``speaker_network`` (what voices sound
like, second by second), ``clustering`` (two voices), ``resegmentation`` (where each speaks, frame by frame),
``diarizer`` (all of it: samples in, turns out), ``error_rate`` (how wrong it is).
"""
