"""What is measured once is what would be measured each time, bit for bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from service.quality import reference
from service.quality.change_detector import worst_region
from service.quality.colour import colour_shift
from service.quality.guardrail import judge, measure, measure_between
from service.quality.lassim import lassim, lassim_map, lassim_values, to_canonical
from service.quality.reference import Reference
from service.registry.card import GuardFloors
from service.vocabulary import Policy
from tests.live import Image, scene

SIZES = [(480, 272), (361, 361), (97, 61), (1280, 720), (1003, 701)]
FLOORS = GuardFloors(lassim=0.9, worst=0.6, delta_e_mean=10, delta_e_p95=20, redder_share=0.05)


def changed(image: Image, seed: int = 0) -> Image:
    """Warmer, of more contrast, noisy, and with something new in it."""
    noisy = image * np.array([1.2, 1.0, 0.8]) + np.random.default_rng(seed).normal(0, 6, image.shape)
    made = np.clip(noisy, 0, 255).astype(np.uint8)
    height, width = made.shape[:2]
    cv2.circle(made, (width // 3, height // 2), min(height, width) // 8, (30, 10, 10), -1)
    return made


@pytest.mark.parametrize("size", SIZES)
def test_a_reference_gives_what_each_measure_gives_on_its_own(size: tuple[int, int]) -> None:
    photo = scene(*size)
    output = changed(photo)
    small_output, small_photo = to_canonical(output), to_canonical(photo)
    measured = measure_between(Reference(output), Reference(photo))
    assert measured.lassim == lassim(small_output, small_photo) == lassim(output, photo, scale="canonical")
    assert measured.worst.value == worst_region(small_output, small_photo).value
    assert measured.colour == colour_shift(small_output, small_photo)
    assert measured == measure(output, photo)


def test_a_reference_used_before_gives_the_same_as_a_fresh_one() -> None:
    photo = scene(1280, 720)
    used = Reference(photo)
    for seed in range(3):
        output = changed(photo, seed)
        assert measure_between(Reference(output), used) == measure(output, photo)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("size", [(480, 272), (1280, 720)])
def test_a_judgement_by_a_used_reference_is_that_by_the_pixels(policy: Policy, size: tuple[int, int]) -> None:
    photo = scene(*size)
    used = Reference(photo)
    measure_between(used, used)
    first, again = judge(changed(photo), photo, FLOORS, policy), judge(changed(photo), used, FLOORS, policy)
    assert first.missed
    assert np.array_equal(first.image, again.image)
    assert (first.lassim, first.worst, first.box, first.colour) == (again.lassim, again.worst, again.box, again.colour)
    assert (first.verdict, first.blend, first.missed) == (again.verdict, again.blend, again.missed)
    assert first.delivered.pixels is first.image


def test_a_photo_is_brought_to_the_canonical_scale_once_whatever_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = scene(1280, 720)
    seen: list[int] = []

    def counted(pixels: Image) -> Image:
        seen.append(id(pixels))
        return to_canonical(pixels)

    monkeypatch.setattr(reference, "to_canonical", counted)
    judge(changed(photo), Reference(photo), FLOORS)
    assert seen.count(id(photo)) == 1


def test_the_map_of_residuals_is_the_map_of_the_images() -> None:
    photo = scene(900, 700)
    output = changed(photo)
    values = lassim_values(Reference(output).residual, Reference(photo).residual)
    assert np.array_equal(values, lassim_map(output, photo, scale="canonical").values)
