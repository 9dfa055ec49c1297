"""How good the generator is now, on photos kept out of training, by one stated score.

score = PSNR(G(bad), clean) - 100 * max(0, LaSSIM(clean, bad) - 0.005 - LaSSIM(G(bad), bad)), means over the photos:
decibels of restoration, less a decibel for each hundredth of structure lost beyond what the truth itself differs by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model_training.config.schema import TrainingConfig
from model_training.data.degradation import degrade
from model_training.data.photos import load_photos
from model_training.evaluation.psnr import psnr
from model_training.export.wrapper import PixelContract
from service.pixels import Pixels
from service.quality.lassim import lassim

CEILING_DB = 100.0
_FIRST_SEED = 1_000_000
_ALLOWED_LOSS = 0.005
_DECIBELS_PER_LASSIM = 100.0


@dataclass(frozen=True, slots=True)
class Score:
    """Means over the validation photos; ``psnr_db`` and ``lassim_clean`` to the clean photo, ``lassim`` to the bad."""

    score: float
    psnr_db: float
    lassim: float
    lassim_clean: float


class Validation:
    """Held-out photos and the degraded ones made of them, the same at every call.

    Attributes:
        digests: SHA-256 of each usable file of the source.
    """

    def __init__(self, source: Path, config: TrainingConfig) -> None:
        """Takes photos evenly spread over ``source``, at the training size.

        Raises:
            DataError: ``source`` holds no usable image.
        """
        size = (config.data.height, config.data.width)
        photos = load_photos(source, size, least=config.data.crop, fit=config.data.fit)
        chosen = np.linspace(0, len(photos) - 1, min(len(photos), config.journal.validate_images)).round().astype(int)
        self.digests = photos.digests
        self.clean: list[Pixels] = [photos.pixels[int(i)].permute(1, 2, 0).contiguous().numpy() for i in chosen]
        self.bad: list[Pixels] = [degrade(photo, _FIRST_SEED + at) for at, photo in enumerate(self.clean)]
        self._attainable = float(np.mean([lassim(c, b) for c, b in zip(self.clean, self.bad, strict=True)]))

    @torch.no_grad()
    def score(self, generator: nn.Module, device: torch.device) -> Score:
        """The generator's score now."""
        contract = PixelContract(generator).eval()
        made = [contract(torch.from_numpy(bad)[None].to(device))[0].cpu().numpy() for bad in self.bad]
        psnr_db = float(
            np.mean([psnr(image, clean, ceiling_db=CEILING_DB) for image, clean in zip(made, self.clean, strict=True)])
        )
        kept = float(np.mean([lassim(image, bad) for image, bad in zip(made, self.bad, strict=True)]))
        faithful = float(np.mean([lassim(image, clean) for image, clean in zip(made, self.clean, strict=True)]))
        lost = max(0.0, self._attainable - _ALLOWED_LOSS - kept)
        return Score(psnr_db - _DECIBELS_PER_LASSIM * lost, psnr_db, kept, faithful)
