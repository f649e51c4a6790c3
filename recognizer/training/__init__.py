"""Training of acoustic models (extra ``train``): corpora, channel simulation, networks. Only here is torch imported."""
