"""The weights CycleGAN's networks start from."""

from __future__ import annotations

from torch import nn

# Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", 7.2.
_STANDARD_DEVIATION = 0.02


def initialise_normal(network: nn.Module) -> None:
    """Draws every convolution's weights from N(0, 0.02) and zeroes its biases, from torch's global generator."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, _STANDARD_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
