"""Where a photo from an endoscope's screen shows its picture: the disc, octagon or rectangle inside a black surround.

The surround says nothing of the light at the throat, and much of it would mislead the generator's view of the whole
photo. So the generator is given the picture alone, what its rectangle holds of the surround filled with the nearest of
its pixels, and the surround comes back as it came, text in it included.

A dark corner of a photo is not a surround: that is flat, ends in a step, and leaves a convex picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.pixels import Pixels

Mask = NDArray[np.uint8]

SEARCH_SIDE = 480
"""Longer side at which the surround is looked for."""

DARKEST = 32
"""A surround's brightest channel is at most this, in grey levels: recorders' black is 0 or 16, and noisy."""

LEAST_FRAME = 0.15
"""Share of the photo's outermost pixels that are so dark: the shorter side of a 16:9 photo is 18 % of them."""

LEAST_STEP = 20
"""The picture begins with a step of at least this many grey levels (median along its edge, over 6 px)."""

LIT = 12
"""So many grey levels above the surround a pixel is lit."""

LEAST_FLAT = 0.85
"""Share of the surround within `FLAT` of its level; the rest may be text."""

FLAT = 6
LEAST_SURROUND = 0.04
LEAST_PICTURE = 0.08
LEAST_SIDE = 64
MOST_ELONGATED = 4.0


@dataclass(frozen=True, slots=True)
class ContentArea:
    """The rectangle round a picture in its photo, in pixels, and what of it is picture.

    `cover` is (h, w) uint8 at the scale of the search: 255 in the picture, 0 in the surround, between at the edge.
    `black` is the brightest that a pixel of the surround is taken to be.
    """

    top: int
    left: int
    height: int
    width: int
    cover: Mask
    black: float

    def cut(self, photo: Pixels) -> Pixels:
        """The picture's rectangle of `photo` (H, W, 3): (height, width, 3), a view."""
        return photo[self.top : self.top + self.height, self.left : self.left + self.width]

    def fill(self, working: Pixels) -> Pixels:
        """`working` (h, w, 3), the rectangle at any size, with the picture's nearest pixel in place of the surround."""
        height, width = working.shape[:2]
        cover = cv2.resize(self.cover, (width, height), interpolation=cv2.INTER_LINEAR)
        # Pixels of the search at the edge mix with the black round them.
        reach = 1 + max(1, round(max(height / self.cover.shape[0], width / self.cover.shape[1])))
        kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        inside = cv2.erode((cover == 255).astype(np.uint8), kernel, borderValue=1)
        if not inside.any():
            return working
        _, nearest = cv2.distanceTransformWithLabels(1 - inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
        known = inside > 0
        colours[nearest[known]] = working[known]
        return np.asarray(colours[nearest], np.uint8)

    def filled(self, photo: Pixels, working: Pixels) -> Pixels:
        """The picture's rectangle of `photo`, with `working`, which `fill` has made, in place of the surround."""
        if working.shape[:2] == (self.height, self.width):
            return working
        size = (self.width, self.height)
        inside = cv2.erode((self.cover == 255).astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
        wide = cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)
        made = np.array(cv2.resize(working, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        return np.asarray(cv2.copyTo(self.cut(photo), wide, made), np.uint8)

    def paste(self, photo: Pixels, made: Pixels) -> Pixels:
        """`photo` (H, W, 3) with the picture of `made` (height, width, 3), blended over a pixel or two at its edge."""
        result = photo.copy()
        cover = cv2.resize(self.cover, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        target = self.cut(result)
        target[:] = cv2.copyTo(made, (cover == 255).astype(np.uint8), target)
        edge = (cover > 0) & (cover < 255)
        before = target[edge]
        share = cover[edge].astype(np.float32) / 255 * (before.max(1, initial=0) > self.black)
        target[edge] = np.rint(before + share[:, None] * (made[edge].astype(np.float32) - before)).astype(np.uint8)
        return result


def find_content_area(photo: Pixels) -> ContentArea | None:
    """Where `photo` (H, W, 3) uint8 RGB shows its picture; None if it has no black surround."""
    frame = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]]).max(1)
    dark = frame <= DARKEST
    if dark.mean() < LEAST_FRAME:
        return None
    level = float(np.median(frame[dark]))
    value = _search_image(photo)
    picture = _convex_picture(value > level + LIT)
    if picture is None or not _is_surrounded(picture, value, level):
        return None
    return _shown(picture, photo, level + LIT)


def _search_image(photo: Pixels) -> Mask:
    """The brightest channel at the scale of the search, single pixels smoothed away."""
    height, width = photo.shape[:2]
    scale = min(1.0, SEARCH_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(small.max(2)), 3), np.uint8)


def _convex_picture(lit: NDArray[np.bool_]) -> Mask | None:
    """Convex hull of the largest lit region, thin strokes apart: (h, w) uint8, 1 inside; None where nothing is lit."""
    opened = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    outline, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    picture = np.zeros(lit.shape, np.uint8)
    cv2.fillConvexPoly(picture, cv2.convexHull(np.concatenate(outline)), 1)
    return picture


def _is_surrounded(picture: Mask, value: Mask, level: float) -> bool:
    share = float(picture.mean())
    if not LEAST_PICTURE <= share <= 1 - LEAST_SURROUND:
        return False

    def grown(width: int) -> NDArray[np.bool_]:
        kernel = np.ones((2 * abs(width) + 1,) * 2, np.uint8)
        made = cv2.dilate(picture, kernel) if width > 0 else cv2.erode(picture, kernel, borderValue=1)
        return np.asarray(made, np.bool_)

    around = ~grown(3)
    if not around.any() or float((np.abs(value[around] - level) <= FLAT).mean()) < LEAST_FLAT:
        return False
    # Where the picture reaches the photo's own border it has no edge to look at.
    inner, outer = value[grown(-2) & ~grown(-4)], value[grown(4) & ~grown(2)]
    return bool(inner.size and outer.size and np.median(inner) - np.median(outer) >= LEAST_STEP)


def _shown(picture: Mask, photo: Pixels, black: float) -> ContentArea | None:
    """The picture's rectangle in `photo`; None if it is too small or too narrow for the generator."""
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    (height, width), (full_height, full_width) = picture.shape, photo.shape[:2]
    (first, last), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    top, bottom = int(first * full_height // height), int(-(-last * full_height // height))
    start, end = int(left * full_width // width), int(-(-right * full_width // width))
    tall, wide = bottom - top, end - start
    if min(tall, wide) < LEAST_SIDE or max(tall, wide) > MOST_ELONGATED * min(tall, wide):
        return None
    # One pixel in from the edge, where black mixes in, and a soft step from there inwards.
    inside = cv2.erode(picture, np.ones((3, 3), np.uint8), borderValue=1)
    soft = np.minimum(cv2.blur(inside * np.uint8(255), (3, 3), borderType=cv2.BORDER_REPLICATE), inside * np.uint8(255))
    return ContentArea(top, start, tall, wide, np.ascontiguousarray(soft[first:last, left:right]), black)
