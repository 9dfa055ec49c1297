"""What training needs on disk, as small as it can be: drawn photos, and a VGG of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from model_training.data.phantom import phantom

VGG_SHAPES = {"conv1_1": (64, 3), "conv1_2": (64, 64), "conv2_1": (128, 64), "conv2_2": (128, 128)}


def write_photos(
    folder: Path, count: int, *, seed: int = 0, hazy: bool = False, size: tuple[int, int] = (96, 64)
) -> Path:
    """`count` drawn throats of `size` (width, height) as PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = phantom(*size, seed + index)
        if hazy:
            image = (image * 0.5 + 100).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


def write_vgg(path: Path, *, seed: int = 0) -> Path:
    """Random weights of VGG16's first four convolutions, in the Caffe layout of the npz."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for name, (out, into) in VGG_SHAPES.items():
        weights[f"{name}_w"] = (rng.standard_normal((out, into, 3, 3)) * (2 / (9 * into)) ** 0.5).astype(np.float32)
        weights[f"{name}_b"] = np.zeros(out, np.float32)
    np.savez(path, **weights)
    return path


def filtered(plane: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """`plane` (h, w) under `kernel` (side, side), its border replicated: (1, h, w)."""
    r = len(kernel) // 2
    return functional.conv2d(functional.pad(plane[None], (r, r, r, r), mode="replicate"), kernel[None, None])
