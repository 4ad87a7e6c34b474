"""LongPPL: perplexity of the tokens that need what stands far above."""
