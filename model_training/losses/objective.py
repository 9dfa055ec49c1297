"""The four objectives: each says only what it adds to the adversarial game that they share."""

from __future__ import annotations

from pathlib import Path

from model_training.config.schema import TrainingConfig
from model_training.losses.cyclegan import CycleGan
from model_training.losses.exchange import Exchange, Objective
from model_training.losses.lamegan import Lamegan
from model_training.losses.miinet import Miinet
from model_training.losses.stillgan import StillGan
from model_training.networks.vgg import VggFeatures
from service.errors import ConfigurationError, DataError

__all__ = ["Exchange", "Objective", "build_objective", "read_features", "require_residual"]

# VGG halves twice, and a feature map of one pixel says nothing about structure.
_LEAST_RESIDUAL_PX = 8


def build_objective(config: TrainingConfig) -> Objective:
    """The objective that ``config`` names, on the CPU.

    Raises:
        ConfigurationError: the crop is too small for its terms.
        DataError: it needs VGG features and their file is missing or of the wrong kind.
    """
    crop = config.data.crop
    if config.objective == "cyclegan":
        return CycleGan(config.cyclegan)
    if config.objective == "stillgan":
        for patch in config.stillgan.patches:
            if crop % patch:
                raise ConfigurationError(
                    f"stillgan.patches: a crop of {crop} is not made of patches of {patch} pixels."
                )
        return StillGan(config.stillgan)
    if config.objective == "miinet":
        return Miinet(config.miinet, read_features(config.features.weights))
    require_residual(crop, config.lamegan.level, "lamegan.level")
    return Lamegan(config.lamegan, read_features(config.features.weights))


def require_residual(crop: int, level: int, setting: str) -> None:
    """Refuses a level at which the residual of a crop is too small for the features; ``setting`` is the level's name.

    Raises:
        ConfigurationError: it is; the sentence says which crop would do.
    """
    if crop >> level < _LEAST_RESIDUAL_PX:
        least = _LEAST_RESIDUAL_PX << level
        raise ConfigurationError(f"{setting} {level} needs a crop of at least {least}, not {crop}.")


def read_features(weights: Path | None) -> VggFeatures:
    """The frozen VGG16 features of ``weights``.

    Raises:
        DataError: no file is named, or it is missing or of the wrong kind.
    """
    if weights is None:
        raise DataError(
            "This objective compares VGG16 features: name their weights with --vgg FILE (or features.weights)."
        )
    return VggFeatures(weights)
