"""Measuring patched models: perplexity by position, and lm-eval with our model and tasks."""
