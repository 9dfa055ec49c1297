"""Photos as an endoscope's tower records them: a disc or an octagon in the middle of a black 16:9 screen, as a JPEG;
and photos with text burnt in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from model_training.data.photo_faults import through_jpeg
from model_training.evaluation.psnr import psnr
from service.imaging.content_area import find_content_area
from service.pixels import Pixels

Shape = Literal["disc", "octagon"]
SHAPES: tuple[Shape, ...] = ("disc", "octagon")

SIZE = (272, 480)
"""(height, width) of a screen."""

MARGIN_PX = 8
"""How far a pixel must lie from the picture's edge to count as inside or as black: what the file blurs is neither."""

QUALITY = 90


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a screen shows its picture; `inside` and `black` are (H, W) bool, neither near the edge."""

    shown: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    black: NDArray[np.bool_]

    def record(self, picture: Pixels) -> Pixels:
        """`picture` (H, W, 3) uint8 RGB, shrunk and cut to the screen's shape: (*SIZE, 3) uint8 RGB, through a JPEG."""
        height, width = SIZE
        scale = height / min(picture.shape[:2])
        size = (max(height, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
        shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        top, left = (shrunk.shape[0] - height) // 2, (shrunk.shape[1] - height) // 2
        screen = np.zeros((height, width, 3), np.uint8)
        beside = (width - height) // 2
        screen[:, beside : beside + height] = shrunk[top : top + height, left : left + height]
        screen[~self.shown] = 0
        return through_jpeg(screen, QUALITY)

    def brightened(self, made: Pixels, given: Pixels) -> float:
        """How much lighter `made` is than `given` in the black surround: mean grey levels."""
        return float(np.mean(made[self.black].astype(np.float64) - given[self.black]))

    def psnr(self, made: Pixels, truth: Pixels) -> float:
        """PSNR in dB of what is shown, capped at 60."""
        return psnr(made[self.inside], truth[self.inside])


TEXT = ("PATIENT 1234", "F 61Y  0042 B")


def with_text(picture: Pixels) -> Pixels:
    """`picture` (H, W, 3) uint8 RGB with white text burnt in at the top left, each line a twelfth as high as it."""
    made = picture.copy()
    size = picture.shape[0] / 272
    for index, line in enumerate(TEXT):
        at = (round(12 * size), round((30 + 30 * index) * size))
        cv2.putText(made, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * size, (255, 255, 255), 2, cv2.LINE_AA)
    return made


def as_served(enhance: Callable[[Pixels], Pixels]) -> Callable[[Pixels], Pixels]:
    """`enhance` as the service calls it: with a photo's picture alone where it has a black surround."""

    def whole(photo: Pixels) -> Pixels:
        shown = find_content_area(photo)
        if shown is None:
            return enhance(photo)
        return shown.paste(photo, enhance(shown.fill(shown.cut(photo))))

    return whole


def screen(shape: Shape) -> Screen:
    """The screen that shows its picture as a `shape`, 94 % as high as the screen."""
    height, width = SIZE
    y, x = np.mgrid[0:height, 0:width]
    down, across = np.abs(y - (height - 1) / 2), np.abs(x - (width - 1) / 2)
    reach = 0.47 * height
    distance: NDArray[Any]
    if shape == "disc":
        distance = np.hypot(down, across) - reach
    else:
        distance = np.maximum(np.maximum(down, across) - reach, (down + across - 1.6 * reach) / np.sqrt(2))
    return Screen(distance <= 0, distance <= -MARGIN_PX, distance >= MARGIN_PX)
