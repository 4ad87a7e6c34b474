"""lm-eval tasks that are generated on the spot, offline, in tokens of the model at hand."""
