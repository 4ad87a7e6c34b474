"""Answers on disk, kept as they come: what was computed once is not computed again."""
