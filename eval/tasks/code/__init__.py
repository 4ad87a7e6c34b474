"""Recall of code that was shown far above."""
