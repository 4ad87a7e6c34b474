"""Common words: aggregation over a whole list."""
