"""What a screen or recorder lays over a picture: an endoscope's black surround, text that is burnt in."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from service.pixels import Pixels


def screen_mask(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Where an endoscope's screen shows its picture: (height, width, 1) in [0, 1], 0 in the black surround.

    A disc, a rectangle or one with its corners cut, somewhere on the screen, with an edge a pixel or two soft.
    """
    mask = np.zeros((height, width), np.uint8)
    kind = rng.integers(3)
    if kind == 0:
        radius = min(height, width) * rng.uniform(0.36, 0.6)
        centre = (rng.uniform(0.38, 0.62) * width, rng.uniform(0.42, 0.58) * height)
        cv2.circle(mask, (round(centre[0]), round(centre[1])), round(radius), 255, -1, cv2.LINE_AA)
    else:
        tall, wide = rng.uniform(0.6, 1.0) * height, rng.uniform(0.5, 0.95) * width
        top, left = rng.uniform(0, height - tall), rng.uniform(0, width - wide)
        cut = rng.uniform(0.08, 0.3) * min(tall, wide) if kind == 1 else 0.0
        low, right = top + tall, left + wide
        corners = [(left + cut, top), (right - cut, top), (right, top + cut), (right, low - cut)]
        corners += [(right - cut, low), (left + cut, low), (left, low - cut), (left, top + cut)]
        cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 255, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.2))
    return np.asarray(soft[..., None] / np.float32(255), np.float32)


def on_screen(bad: Pixels, good: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """The pair as a screen shows it: inside a black surround, with text burnt in, or both, the same on both sides.

    A screen adds them after lens, light and sensor, so the target has them too.
    """
    surround, text = [(True, False), (True, True), (False, True)][rng.integers(3)]
    if surround:
        mask = screen_mask(bad.shape[0], bad.shape[1], rng)
        black = rng.uniform(0, 8) if rng.random() < 0.5 else 0.0
        grain = rng.standard_normal(bad.shape, np.float32) * (rng.uniform(0, 1.5) if rng.random() < 0.5 else 0.0)
        around = np.clip(black + grain, 0, 255) * (1 - mask)
        bad, good = (np.rint(image * mask + around).astype(np.uint8) for image in (bad, good))
    if text:
        cover, colour = burnt_in_text(bad.shape[0], bad.shape[1], rng)
        bad, good = (np.rint(image * (1 - cover) + colour * cover).astype(np.uint8) for image in (bad, good))
    return bad, good


LETTERS = list("ABCDEFGHIKLMNOPRSTUVWXYZ0123456789 :/-.")
TEXT_COLOURS = ((255, 255, 255), (255, 255, 255), (230, 230, 60), (60, 230, 90), (90, 220, 230), (170, 170, 170))


def burnt_in_text(height: int, width: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A few lines as a recorder burns them in: where, (height, width, 1) in [0, 1], and in which colour, (3,)."""
    cover = np.zeros((height, width), np.uint8)
    size = rng.uniform(0.25, 1.1) * min(height, width) / 272
    left, line = int(rng.uniform(0, 0.7) * width), int(rng.uniform(0.05, 0.95) * height)
    for _ in range(rng.integers(1, 5)):
        words = "".join(rng.choice(LETTERS, int(rng.integers(4, 16))))
        thickness = 1 if size < 0.6 else int(rng.integers(1, 3))
        cv2.putText(cover, words, (left, line), cv2.FONT_HERSHEY_SIMPLEX, size, 255, thickness, cv2.LINE_AA)
        line += round(34 * size)
    colour = np.array(TEXT_COLOURS[rng.integers(len(TEXT_COLOURS))], np.float32)
    return np.asarray(cover[..., None] / np.float32(255), np.float32), colour
