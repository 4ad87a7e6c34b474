"""Checkpoints on disk: extended without loading a weight, in every engine's words, whole or not at all."""
