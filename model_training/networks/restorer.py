"""The restorer: detail first, at the photo's own resolution, then light and colour, at the working size.

Detail faults (blur, noise, blocks) can be told from the photo alone and are mended in every picture; light and haze
need to know what a throat looks like. The two parts are trained apart and act one after the other, so that a service
may run the detail part on up to a megapixel and the whole on the working image.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from model_training.networks.colour import ColourNetwork
from model_training.networks.detail import DetailNetwork


class Restorer(nn.Module):
    """Enhances (B, 3, H, W) float32 in [-1, 1] to the same shape and range; H, W multiples of 16, at least 64.

    Options: `detail_widths`, `detail_blocks` (at 1/2, 1/4, 1/8), `colour_widths`, `colour_blocks` (at 1/4, 1/8, 1/16).
    """

    multiple: ClassVar[int] = 16

    def __init__(
        self,
        detail_widths: tuple[int, int, int] = (16, 40, 64),
        detail_blocks: tuple[int, int, int] = (1, 2, 3),
        colour_widths: tuple[int, int, int] = (32, 64, 128),
        colour_blocks: tuple[int, int, int] = (1, 2, 4),
    ) -> None:
        super().__init__()
        self.detail = DetailNetwork(detail_widths, detail_blocks)
        self.colour = ColourNetwork(colour_widths, colour_blocks)

    def mend_detail(self, x: Tensor) -> Tensor:
        """Mend blur, noise and blocks alone: (B, 3, H, W) to the same shape and range."""
        mended: Tensor = self.detail(x)
        return self._clipped(mended)

    def mend_colour(self, x: Tensor) -> Tensor:
        """Mend light, haze and cast alone: (B, 3, H, W) to the same shape and range."""
        mended: Tensor = self.colour(x)
        return self._clipped(mended)

    def forward(self, x: Tensor) -> Tensor:
        """Enhance x; while training the clipping passes gradients, so that a clipped pixel can come back."""
        return self.mend_colour(self.mend_detail(x))

    def fix(self) -> None:
        """Work out once what does not depend on the photo, for export; training is over then."""
        self.detail.fix()
        self.colour.statistics.fix()

    def _clipped(self, x: Tensor) -> Tensor:
        clipped = x.clamp(-1, 1)
        return x + (clipped - x).detach() if self.training else clipped
