"""Corpora: one file for each kind of corpus, each of which makes manifests."""
