"""Perplexity by position, by length, with a stride, and of a window that is cut."""
