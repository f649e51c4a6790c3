"""Audio to words, per leg of a call, as it comes in.

In the order in which the sound meets them: ``log_mel`` and ``features`` (energies, normalised), ``acoustic_model``
(likelihoods of HMM states: ``network_folding`` and ``quantised`` make a chain of products of what was trained,
``network_pool`` runs it for many legs, ``network_kernels`` multiplies), ``graph`` (which states make which words, at
which cost), ``beam_search`` with ``token_passing`` (the best path so far), ``word_alignment`` and ``confidence`` (when
each word was said and how sure that is), ``endpoint`` (when an utterance is over), ``partial_words`` (which guesses
are told), ``session`` (one leg), ``leg_recognition``, ``snapshot`` and ``worker`` (many legs, off and onto the event
log), ``recogniser`` (what the legs of a process share).

Beforehand: ``lexicon``, ``language_model``, ``hmm_topology``, ``grammar_fst``, ``flat_fst`` and ``graph_build`` make a
graph; ``graph_archive`` packs it; ``model_pack`` loads what ``models/`` ships. Afterwards: ``evaluation`` measures.
"""
