"""The frozen features that the structure and perceptual losses compare: VGG16 up to its second pooling."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from model_training.runs.checkpoint import UNREADABLE
from service.errors import DataError

_NAMES = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
_TORCHVISION_LAYERS = (0, 2, 5, 7)
_SHAPES = ((64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3))

# Caffe's network takes B, G, R in 0..255 less these means; torchvision's takes R, G, B in [0, 1], normalised.
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_TORCHVISION_MEAN = (0.485, 0.456, 0.406)
_TORCHVISION_STD = (0.229, 0.224, 0.225)
# torchvision's input is divided by a standard deviation, 0.225 of 255, so Caffe's features are this much larger.
_CAFFE_SCALE = 57.4


class VggFeatures(nn.Module):
    """Frozen VGG16 features after the second pooling, at torchvision's scale whichever file they come from.

    Shape: (B, 3, H, W) RGB in [-1, 1] -> (B, 128, H // 4, W // 4), at least 0.
    Source: Simonyan and Zisserman 2014; the paper's eq. 2 takes the features after the 2nd pooling.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, path: Path) -> None:
        """Reads the weights: an npz of Caffe's, or torchvision's VGG16 state dict.

        Raises:
            DataError: the file is missing or holds something else.
        """
        super().__init__()
        weights, self.caffe = read_weights(path)
        pool, relu = nn.MaxPool2d(2), nn.ReLU(inplace=True)
        layers: list[nn.Module] = []
        for index, (weight, bias) in enumerate(weights):
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.weight.data, convolution.bias.data = weight, bias  # type: ignore[union-attr]
            layers += [convolution, relu, pool] if index % 2 else [convolution, relu]
        self.layers = nn.Sequential(*layers)
        self.requires_grad_(False)
        mean, deviation = (_CAFFE_MEAN_BGR, (1.0, 1.0, 1.0)) if self.caffe else (_TORCHVISION_MEAN, _TORCHVISION_STD)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Shape: (B, 3, H, W) RGB in [-1, 1] -> (B, 128, H // 4, W // 4)."""
        # A residual varies by little around the network's grey: in bfloat16 its features would be mostly rounding.
        with torch.autocast(image.device.type, enabled=False):
            unit = (image.float() + 1) / 2
            pixels = (unit * 255).flip(1) if self.caffe else unit
            features = cast("Tensor", self.layers((pixels - self.mean) / self.deviation))
            return features / _CAFFE_SCALE if self.caffe else features


def read_weights(path: Path) -> tuple[list[tuple[Tensor, Tensor]], bool]:
    """The four convolutions' weights and biases (float32, OIHW), and whether they are Caffe's.

    Raises:
        DataError: the file is missing or is neither kind.
    """
    if not path.is_file():
        raise DataError(f"There is no VGG weights file at {path}.", path=str(path))
    try:
        pairs, caffe = (_read_npz(path), True) if path.suffix == ".npz" else (_read_state_dict(path), False)
    except UNREADABLE as error:
        raise _wrong_kind(path) from error
    for (weight, bias), shape in zip(pairs, _SHAPES, strict=True):
        if tuple(weight.shape) != shape or tuple(bias.shape) != shape[:1]:
            raise _wrong_kind(path)
    return pairs, caffe


def _wrong_kind(path: Path) -> DataError:
    return DataError(
        f"{path} holds no VGG16 weights: expected an .npz with conv1_1_w ... conv2_2_b (Caffe's values) "
        "or torchvision's VGG16 state dict with features.0.weight ... features.7.bias.",
        path=str(path),
    )


def _read_npz(path: Path) -> list[tuple[Tensor, Tensor]]:
    with np.load(path, allow_pickle=False) as archive:
        return [
            (torch.from_numpy(archive[f"{name}_w"]).float(), torch.from_numpy(archive[f"{name}_b"]).float())
            for name in _NAMES
        ]


def _read_state_dict(path: Path) -> list[tuple[Tensor, Tensor]]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError("not a state dict")
    return [
        (state[f"features.{layer}.weight"].float(), state[f"features.{layer}.bias"].float())
        for layer in _TORCHVISION_LAYERS
    ]
