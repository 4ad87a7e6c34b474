"""Frequent words: aggregation over coded words whose frequencies follow a power law."""
