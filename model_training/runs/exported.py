"""Weights read back from an exported model: an exported graph names its initialisers as the network did."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from model_training.networks.colour import COEFFICIENTS
from service.errors import CheckpointError

PREFIX, HEAD = "generator.", "trunk.head.weight"


def fast_generator_weights(model: Path) -> dict[str, Tensor]:
    """The weights of the fast generator in the file `model` that a `ColourNetwork` has too, by that network's names.

    Of the head's rows the first 15 are taken: the affine part and the curve.

    Raises:
        CheckpointError: it cannot be read, or holds another network.
    """
    try:
        initialisers = onnx.load(model).graph.initializer
    except Exception as error:  # protobuf's own exceptions come from a module without types
        raise CheckpointError(f"{model} cannot be read as an ONNX model.") from error
    found = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in initialisers}
    weights = {name.removeprefix(PREFIX): value for name, value in found.items() if name.startswith(PREFIX)}
    if HEAD not in weights:
        raise CheckpointError(f"{model} holds no fast generator.")
    return {**weights, "head.weight": weights.pop(HEAD)[:COEFFICIENTS]}
