"""Scoring and generating for a harness: forward passes in chunks over a KV cache, and one cache for a shared prefix."""
