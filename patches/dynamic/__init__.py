"""Dynamic scaling on live models: a scale for each row, planned or grown, that a KV cache can live with."""

from rope_scaling.patches.dynamic.plans import rope_length

__all__ = ["rope_length"]
