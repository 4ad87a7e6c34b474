"""GGUF files: their RoPE is in metadata, and a copy with other metadata is another RoPE."""
