"""Generators, the discriminator and the frozen features, each a plain ``nn.Module``.

Every generator maps (B, 3, H, W) float32 in [-1, 1] to the same shape and range and declares ``multiple``: H and
W must be multiples of it. Whoever calls with another size pads first (see ``model_training.export.onnx``).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import torch
from torch import nn

from model_training.config.schema import GeneratorConfig
from service.errors import ConfigurationError

# Each generator lives in its own module; a name is imported only when it is asked for.
_GENERATORS = {
    "resnet": ("model_training.networks.resnet", "ResnetGenerator"),
    "resunet": ("model_training.networks.resunet", "ResUNet"),
    "fast": ("model_training.networks.fast", "FastGenerator"),
    "restorer": ("model_training.networks.restorer", "Restorer"),
}

_PROBE_PX = 64

GENERATOR_NAMES = tuple(_GENERATORS)


def build_generator(name: str, **options: Any) -> nn.Module:
    """A freshly initialised generator of that name; ``options`` go to its constructor.

    Raises:
        KeyError: there is no generator of that name.
        TypeError: it takes no such option.
    """
    module, attribute = _GENERATORS[name]
    generator: nn.Module = getattr(import_module(module), attribute)(**options)
    return generator


def build(config: GeneratorConfig) -> nn.Module:
    """A freshly initialised generator of `config`.

    Raises:
        ConfigurationError: the generator takes no such option, or not so many numbers.
    """
    try:
        return build_generator(config.name, **config.options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The {config.name} generator does not take these options: {error}.") from error


def multiple_of(generator: nn.Module) -> int:
    """What the generator's H and W must be multiples of."""
    return cast("int", generator.multiple)


@torch.no_grad()
def gives_numbers(generator: nn.Module) -> bool:
    """Whether the generator makes finite values of a grey ramp: finite weights can be so large that it does not."""
    multiple = multiple_of(generator)
    side = multiple * -(-_PROBE_PX // multiple)
    like = next(generator.parameters())
    ramp = torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device).expand(1, 3, side, side)
    return bool(torch.isfinite(generator(ramp)).all())


def parameter_count(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
