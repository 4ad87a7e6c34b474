"""Positions of images, videos and texts among them."""

from __future__ import annotations

import torch

from rope_scaling.axial import grid_positions

GRID = grid_positions(7, 8)
"""(row, column) of an image, small: at position p Transformers' own float32 products are wrong by p · 1e-7."""
VIDEO = grid_positions(3, 4, 8)
"""(t, h, w)."""
TEXT = torch.arange(5)[:, None].expand(5, 3)
MIXED = torch.stack((torch.cat((TEXT, VIDEO)), torch.cat((VIDEO, TEXT))))
"""(batch, tokens, 3): rows of text and a video."""
