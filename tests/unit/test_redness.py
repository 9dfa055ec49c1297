"""Redness both ways: each measure against a planted fault, and what a change of light may not do to it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_training.data.phantom import phantom
from model_training.guardrail import faults
from model_training.guardrail.harmless import HARMLESS
from service.pixels import Pixels
from service.quality.colour import colour_shift
from service.quality.guardrail import Verdict, judge, measure, missed_floors
from service.quality.redness import redness_order
from service.registry.card import GuardFloors, read_card

PHOTO = phantom(480, 272, 3)
LIGHT = ("exposure", "gamma", "haze", "uneven light", "colour cast", "contrast", "blur", "noise", "denoise", "sharpen")


def planted(radius_px: float, strength: float, seed: int = 1, photo: Pixels = PHOTO) -> Pixels:
    return faults.reddened(photo, np.random.default_rng(seed), radius_px=radius_px, strength=strength)


@given(st.integers(0, 50))
@settings(max_examples=5, deadline=None)
def test_a_picture_is_neither_redder_nor_paler_than_itself_and_keeps_its_order(seed: int) -> None:
    shift = colour_shift(phantom(160, 96, seed), phantom(160, 96, seed))
    assert (shift.redder_share, shift.paler_share, shift.redness_order) == (0, 0, 1)


@pytest.mark.parametrize("radius_px", [16, 24, 40])
@pytest.mark.parametrize("seed", range(3))
def test_a_place_made_paler_is_found_as_one_made_redder_is(radius_px: float, seed: int) -> None:
    red, pale = (colour_shift(planted(radius_px, strength, seed), PHOTO) for strength in (0.6, -0.6))
    assert red.redder_share > 0.003
    assert pale.paler_share > 0.003
    assert (red.paler_share, pale.redder_share) == (0, 0)


@pytest.mark.parametrize("strength", [0.6, -0.6])
def test_redder_and_paler_are_one_measure_with_time_turned_round(strength: float) -> None:
    changed = planted(30, strength)
    forth, back = colour_shift(changed, PHOTO), colour_shift(PHOTO, changed)
    assert forth.paler_share == pytest.approx(back.redder_share, abs=0.004)
    assert forth.redder_share == pytest.approx(back.paler_share, abs=0.004)


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("seed", range(3))
def test_a_change_of_light_or_sharpness_makes_nothing_paler_and_keeps_the_order(name: str, seed: int) -> None:
    photo = phantom(480, 272, seed)
    shift = colour_shift(HARMLESS[name](photo, np.random.default_rng(seed)), photo)
    assert shift.paler_share < 0.003
    assert shift.redness_order > 0.985


def test_an_order_of_redness_that_is_stirred_is_measured_the_more_the_stronger_it_is() -> None:
    orders = []
    for strength in (0.15, 0.3, 0.6):
        stirred, generator = PHOTO, np.random.default_rng(5)
        for sign in (1, -1) * 6:
            stirred = faults.reddened(stirred, generator, radius_px=30, strength=sign * strength)
        orders.append(redness_order(stirred, PHOTO))
    assert orders == sorted(orders, reverse=True)
    assert orders[-1] < 0.95


def test_redness_turned_upside_down_has_no_order() -> None:
    swapped = PHOTO.copy()
    swapped[..., :2] = PHOTO[..., 1::-1]
    assert redness_order(swapped, PHOTO) < 0


def test_dark_flat_and_small_pictures_keep_their_order() -> None:
    for picture in (np.zeros((64, 64, 3), np.uint8), np.full((272, 480, 3), 130, np.uint8), PHOTO[:49, :49]):
        assert redness_order(picture, picture) == 1
        assert redness_order(np.full_like(picture, 90), np.full_like(picture, 130)) == 1


def test_floats_and_bytes_and_larger_sizes_give_nearly_the_same_order() -> None:
    changed = planted(40, -0.6)
    order = redness_order(changed, PHOTO)
    assert redness_order(changed / 255, PHOTO / 255) == pytest.approx(order, abs=5e-3)
    large = [cv2.resize(image, (960, 544), interpolation=cv2.INTER_CUBIC) for image in (changed, PHOTO)]
    assert redness_order(*large) == pytest.approx(order, abs=0.02)


@pytest.mark.parametrize(
    ("floors", "output"),
    [
        (GuardFloors(paler_share=0.003), planted(30, -0.6)),
        (GuardFloors(redness_order=0.99), planted(60, -0.6)),
    ],
    ids=["paler_share", "redness_order"],
)
def test_the_guard_blends_a_paled_place_back_until_the_floor_holds(floors: GuardFloors, output: Pixels) -> None:
    judgement = judge(output, PHOTO, floors)
    assert judgement.missed == tuple(name for name, floor in floors if floor is not None)
    assert judgement.verdict is Verdict.CONSTRAINED
    assert not missed_floors(measure(judgement.image, PHOTO), floors)
    assert judge(output, PHOTO, GuardFloors(lassim=-1)).verdict is Verdict.PASS


def test_a_card_without_the_new_floors_is_judged_by_its_old_ones_alone() -> None:
    card = read_card(Path(__file__).parents[2] / "models" / "lamegan-fast" / "1.0.0" / "card.json")
    floors = card.floors.model_copy(update={"paler_share": None, "redness_order": None, "detail": None})
    output = planted(60, -0.6)
    judgement = judge(output, PHOTO, floors.model_copy(update={"worst": None}))
    assert judgement.colour.paler_share > 0.01
    assert judgement.colour.redness_order < 0.95
    assert judgement.verdict is Verdict.PASS
    assert judgement.image is output
