"""Everyday-like pictures from a seed: overlapping shapes, textures and light with the statistics of photos.

A model trained on throats alone believes every picture is one. These pictures tell it what else a camera may
send (grey, dark, blown out, any colour), so that it leaves what it does not know as it is.
Source: the dead-leaves model of natural images (Lee, Mumford, Huang 2001), with shading and textures added.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from model_training.data.phantom import Field, texture
from model_training.data.photo_faults import smooth_field


def _outline(rng: np.random.Generator, width: int, height: int, radius: float) -> NDArray[np.int32]:
    """A closed polygon (N, 2) around a random point: round, cornered or ragged."""
    corners = int(rng.choice([3, 4, 6, 40]))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if corners < 40 else np.linspace(0, 2 * np.pi, 40)
    reach = radius * (1 + (0.3 if corners < 40 else 0.1) * rng.uniform(-1, 1, corners))
    squeeze = rng.uniform(0.3, 1.0)
    x = rng.uniform(0, width) + reach * np.cos(angles)
    y = rng.uniform(0, height) + squeeze * reach * np.sin(angles)
    return np.rint(np.stack([x, y], 1) * 8).astype(np.int32)


def _lay_leaves(width: int, height: int, rng: np.random.Generator) -> Field:
    """(height, width, 3) linear colours of shapes laid over each other, large ones first."""
    picture = np.broadcast_to(rng.uniform(0.02, 0.9, 3), (height, width, 3)).astype(np.float32)
    hue = rng.uniform(0.05, 0.8, 3)
    colourful = rng.uniform(0.0, 0.45)
    count = int(rng.integers(25, 120))
    radii = np.sort(0.03 * max(width, height) / rng.power(1.6, count))[::-1]
    for radius in np.minimum(radii, 0.5 * max(width, height)):
        cover = np.zeros((height, width), np.float32)
        cv2.fillPoly(cover, [_outline(rng, width, height, float(radius))], 1.0, cv2.LINE_AA, 3)
        if rng.random() < 0.2:
            cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), float(rng.uniform(0.5, 4))), np.float32)
        colour = np.clip(hue * rng.uniform(0.1, 1.6) + rng.uniform(-colourful, colourful, 3), 0.01, 1)
        leaf = np.broadcast_to(colour, picture.shape).astype(np.float32)
        if rng.random() < 0.6:
            grain = texture((height, width), rng, float(rng.uniform(2, 0.2 * width)), 2)
            leaf = leaf * (1 + np.float32(rng.uniform(0.03, 0.3)) * grain[..., None])
        picture = picture * (1 - cover[..., None]) + leaf * cover[..., None]
    return picture


def everyday(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """A picture of nothing in particular, (height, width, 3) uint8 RGB, always the same for the same arguments."""
    rng = np.random.default_rng([int(seed), 0xE5DA1])
    linear = _lay_leaves(width, height, rng)
    light = 0.4 + 0.9 * smooth_field((height, width), rng, 2)
    linear = np.clip(linear, 0, 2) * light[..., None] * np.float32(rng.choice([0.12, 0.5, 1, 1, 1, 2.2]))
    if rng.random() < 0.25:
        linear = np.repeat(linear.mean(2, keepdims=True), 3, 2)
    stored = np.power(np.clip(linear, 0, 1), np.float32(1 / 2.2))
    if rng.random() < 0.5:
        stored = stored + rng.standard_normal(stored.shape, np.float32) * np.float32(0.006)
    pixels: NDArray[np.uint8] = np.clip(np.rint(stored * 255), 0, 255).astype(np.uint8)
    return pixels
