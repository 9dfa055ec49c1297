"""The guardrail: what it measures, what it delivers, and that nothing below a threshold gets out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_training.data.phantom import phantom
from model_training.guardrail import faults
from model_training.guardrail.harmless import HARMLESS
from service.errors import ImageDimensions, InvalidParameter
from service.pixels import Pixels
from service.quality.guardrail import Judgement, Verdict, judge, measure, missed_floors
from service.quality.lassim import lassim
from service.registry.card import GuardFloors
from service.vocabulary import Policy

FLOORS = GuardFloors(lassim=0.9, worst=0.6, delta_e_mean=10, delta_e_p95=20, redder_share=0.05)
INPUT = phantom(480, 272, 3)


def reddened(image: Pixels) -> Pixels:
    return (image * [1.0, 0.6, 0.6]).astype(np.uint8)


def noise(image: Pixels) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)


BAD = {
    "warps": faults.warp(INPUT, 35, np.random.default_rng(0)),
    "paints a lesion": faults.lesion(INPUT, np.random.default_rng(1), sigma_px=10, depth=0.6),
    "shifts colour": reddened(INPUT),
    "returns noise": noise(INPUT),
    "returns black": np.zeros_like(INPUT),
    "turns it upside down": np.ascontiguousarray(INPUT[::-1]),
}
"""What bad generators make of the input."""


def keeps(judgement: Judgement, floors: GuardFloors = FLOORS) -> bool:
    return not missed_floors(measure(judgement.image, INPUT), floors)


def test_a_generator_that_returns_its_input_passes_untouched_with_perfect_scores() -> None:
    judgement = judge(INPUT, INPUT, FLOORS)
    assert judgement.verdict is Verdict.PASS
    assert judgement.image is INPUT
    assert (judgement.lassim, judgement.worst, judgement.blend) == (pytest.approx(1), pytest.approx(1, abs=0.02), 0)
    assert judgement.colour.delta_e_mean == 0


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("policy", [Policy.CONSTRAIN, Policy.WITHHOLD])
def test_no_delivered_image_is_below_a_floor(kind: str, policy: Policy) -> None:
    judgement = judge(BAD[kind], INPUT, FLOORS, policy)
    assert judgement.verdict is not Verdict.PASS
    assert judgement.missed
    assert keeps(judgement)
    measured = measure(judgement.image, INPUT)
    assert (judgement.lassim, judgement.worst) == (measured.lassim, measured.worst.value)


@pytest.mark.parametrize("kind", BAD)
def test_withhold_delivers_the_very_input(kind: str) -> None:
    judgement = judge(BAD[kind], INPUT, FLOORS, Policy.WITHHOLD)
    assert judgement.verdict is Verdict.WITHHELD
    assert judgement.image is INPUT
    assert judgement.blend == 1


@pytest.mark.parametrize("kind", BAD)
def test_annotate_delivers_the_output_and_says_what_is_wrong_with_it(kind: str) -> None:
    judgement = judge(BAD[kind], INPUT, FLOORS, Policy.ANNOTATE)
    assert judgement.image is BAD[kind]
    assert judgement.verdict is not Verdict.PASS
    assert judgement.missed == missed_floors(measure(BAD[kind], INPUT), FLOORS)


def test_a_constrained_image_keeps_as_much_of_the_enhancement_as_the_floors_allow() -> None:
    judgement = judge(BAD["warps"], INPUT, FLOORS)
    assert judgement.verdict is Verdict.CONSTRAINED
    assert 0 < judgement.blend < 1
    assert not np.array_equal(judgement.image, INPUT)
    stricter = judge(BAD["warps"], INPUT, GuardFloors(lassim=0.98))
    milder = judge(BAD["warps"], INPUT, GuardFloors(lassim=0.93))
    assert stricter.blend > milder.blend


def test_restoring_structure_keeps_the_new_light() -> None:
    brighter = np.clip(BAD["warps"].astype(int) + 30, 0, 255).astype(np.uint8)
    judgement = judge(brighter, INPUT, GuardFloors(lassim=0.97))
    assert judgement.verdict is Verdict.CONSTRAINED
    gained = judgement.image.mean() - INPUT.mean()
    assert gained == pytest.approx(brighter.mean() - INPUT.mean(), abs=3)


def test_what_no_blend_can_mend_is_withheld() -> None:
    impossible = GuardFloors(lassim=1.0, delta_e_mean=0.0)
    judgement = judge(BAD["returns noise"], INPUT, impossible)
    assert judgement.verdict is Verdict.WITHHELD
    assert judgement.image is INPUT


def test_a_floor_that_is_off_is_not_asked() -> None:
    assert judge(BAD["returns noise"], INPUT, GuardFloors(delta_e_mean=100)).verdict is Verdict.PASS


@pytest.mark.parametrize("policy", list(Policy))
def test_without_any_floor_nothing_passes_unjudged(policy: Policy) -> None:
    with pytest.raises(InvalidParameter, match="unjudged"):
        judge(INPUT, INPUT, GuardFloors(), policy)


@pytest.mark.parametrize("kind", ["warps", "shifts colour"])
def test_full_size_images_keep_the_floors_on_their_own_pixels(kind: str) -> None:
    size = (1441, 813)
    output, input = (cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in (BAD[kind], INPUT))
    judgement = judge(output, input, FLOORS)
    assert judgement.image.shape == input.shape
    assert judgement.verdict is Verdict.CONSTRAINED
    assert not missed_floors(measure(judgement.image, input), FLOORS)
    assert judgement.lassim == pytest.approx(lassim(judgement.image, input, scale="canonical"))


@given(st.integers(0, 10_000), st.sampled_from([(64, 64), (49, 200), (113, 67), (500, 300)]))
@settings(max_examples=8, deadline=None)
def test_any_size_and_content_ends_with_the_floors_kept(seed: int, size: tuple[int, int]) -> None:
    generator = np.random.default_rng(seed)
    input = cv2.resize(phantom(200, 200, seed), size)
    output = generator.integers(0, 256, input.shape, dtype=np.uint8)
    judgement = judge(output, input, FLOORS)
    assert not missed_floors(measure(judgement.image, input), FLOORS)


def test_the_same_pair_gets_the_same_judgement() -> None:
    first, again = (judge(BAD["warps"], INPUT, FLOORS) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert (first.blend, first.worst, first.lassim) == (again.blend, again.worst, again.lassim)


@pytest.mark.parametrize("change", HARMLESS)
def test_harmless_changes_leave_the_worst_place_above_a_warp(change: str) -> None:
    changed = HARMLESS[change](INPUT, np.random.default_rng(0))
    assert measure(changed, INPUT).worst.value > measure(BAD["warps"], INPUT).worst.value + 0.1


def test_the_worst_place_is_where_the_lesion_is_and_in_pixels_of_the_full_image() -> None:
    big = cv2.resize(INPUT, (1920, 1088), interpolation=cv2.INTER_CUBIC)
    spotted = big.copy()
    cv2.circle(spotted, (700, 500), 36, (40, 20, 20), -1, cv2.LINE_AA)
    box = measure(spotted, big).worst.box
    assert box.left <= 700 <= box.right
    assert box.top <= 500 <= box.bottom
    assert (box.right - box.left) * (box.bottom - box.top) < 0.1 * 1920 * 1088


@pytest.mark.parametrize("sigma_px", [6, 8, 12])
def test_a_lesion_is_seen_inserted_and_erased(sigma_px: float) -> None:
    lesion = faults.lesion(INPUT, np.random.default_rng(2), sigma_px=sigma_px, depth=0.4)
    assert measure(lesion, INPUT).worst.value < 0.5
    assert measure(INPUT, lesion).worst.value < 0.5


def test_images_of_different_or_too_small_sizes_are_refused() -> None:
    with pytest.raises(ImageDimensions):
        measure(INPUT, INPUT[:-1])
    with pytest.raises(ImageDimensions):
        measure(INPUT[:40], INPUT[:40])
