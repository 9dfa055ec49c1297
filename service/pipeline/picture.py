"""The part of a photo that is enhanced and judged: the whole of it, or what an endoscope's screen shows in black."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from service.imaging.content_area import ContentArea, find_content_area
from service.imaging.working_size import WorkingSize, shrink, unpad, working_size
from service.pixels import Pixels
from service.quality.guardrail import Judgement, judge
from service.quality.lassim import Box
from service.quality.reference import Reference, lassim_between
from service.registry.card import GuardFloors
from service.vocabulary import Policy


@dataclass(frozen=True, slots=True)
class Picture:
    """What of a photo goes to the generator.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, black surround filled with the nearest of the picture's own pixels.
        size: its working size.
        working: the picture at that size, where it had to be made; else None.
        area: where it lies in the photo; None where it is the whole photo.
    """

    pixels: Pixels
    size: WorkingSize
    working: Pixels | None = None
    area: ContentArea | None = None

    def judged(self, output: Pixels, sent: Reference, floors: GuardFloors, policy: Policy) -> Judgement:
        """What to deliver for `output`, made of this picture, for the photo `sent`, whole again."""
        if self.area is None:
            return judge(output, sent, floors, policy)
        return _put_back(judge(output, Reference(self.pixels), floors, policy), self.area, sent, self.pixels)


def find_picture(photo: Pixels, working_pixels: int) -> Picture:
    """The picture of `photo`, (H, W, 3) uint8 RGB, for a generator that works on about `working_pixels`."""
    area = find_content_area(photo)
    cut = area.cut(photo) if area else photo
    size = working_size(cut.shape[1], cut.shape[0], working_pixels)
    if area is None:
        return Picture(cut, size)
    working = area.fill(shrink(cut, size))
    return Picture(area.filled(photo, unpad(working, size)), size, working, area)


def _put_back(judgement: Judgement, shown: ContentArea, sent: Reference, filled: Pixels) -> Judgement:
    """The judgement of `filled`, the picture that `sent` shows without its surround, for the whole photo.

    The thresholds were held by the picture alone: black would thin out a fault, and the step at its edge looks like one
    when the picture's light changes and the black does not. LaSSIM is that of the whole photo, as anybody measures it.
    """
    change = cv2.subtract(judgement.image, filled, dtype=cv2.CV_16S)
    made = np.asarray(cv2.add(shown.cut(sent.pixels), change, dtype=cv2.CV_8U), np.uint8)
    image = Reference(shown.paste(sent.pixels, made))
    score, box, detail = lassim_between(image, sent), _moved(judgement.box, shown), judgement.detail
    if detail is not None:
        detail = replace(detail, box=_moved(detail.box, shown))
    return replace(judgement, image=image.pixels, lassim=score, box=box, detail=detail, delivered=image)


def _moved(box: Box, shown: ContentArea) -> Box:
    """`box` of the picture, in pixels of the whole photo."""
    return Box(box.left + shown.left, box.top + shown.top, box.right + shown.left, box.bottom + shown.top)
