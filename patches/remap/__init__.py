"""Remapped positions on live models: which relative position each query sees each key at."""
