"""Peak signal to noise ratio, as every score, criterion and validation of this project takes it."""

from __future__ import annotations

import numpy as np

from service.quality.pyramid import Image

CEILING_DB = 60.0
"""What equal images are given: beyond it a difference cannot be seen, and means stay finite."""


def psnr(output: Image, clean: Image, *, ceiling_db: float = CEILING_DB) -> float:
    """Peak signal to noise ratio of two uint8 images of one shape in dB, over all values, at most `ceiling_db`."""
    error = float(np.mean(np.square(output.astype(np.float64) - clean)))
    return ceiling_db if error == 0 else min(ceiling_db, float(10 * np.log10(255**2 / error)))
