"""Names of the arrays that every part of the software passes on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""An image, (H, W, 3) uint8 RGB."""

Plane = NDArray[np.float32]
"""One value a pixel, (H, W) float32, or one each for several channels."""

FloatImage = NDArray[np.float32]
"""An image, (H, W, 3) float32 RGB in [0, 1]."""
