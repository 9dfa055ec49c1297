"""The finest detail: each fault that is planted is found, harmless changes are not, and the guard blends it back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_training.data.phantom import phantom
from model_training.guardrail.detail_detector import fit_detail_detector, make_detail_examples
from model_training.guardrail.detail_faults import DETAIL_FAULTS, checkerboard, halo, vessel
from model_training.guardrail.fitting import write_network
from model_training.guardrail.harmless import HARMLESS
from service.errors import DataError, ImageDimensions
from service.pixels import Pixels
from service.quality import detail as detail_module
from service.quality.detail import DETAIL_PIXELS, detail_evidence, detail_map, to_detail_scale, worst_detail
from service.quality.guardrail import Verdict, judge, measure, missed_floors
from service.registry.card import GuardFloors, read_card

PHOTO = phantom(480, 272, 3)
FLOORS = GuardFloors(detail=0.6)
LARGEST_PLANTED = {kind: plant for kind, _, plant in DETAIL_FAULTS}
"""The last size of each kind in the table, which is the strongest."""


def planted(kind: str, seed: int = 1) -> Pixels:
    return LARGEST_PLANTED[kind](PHOTO, np.random.default_rng(seed))


@given(st.integers(0, 50), st.sampled_from([(64, 64), (113, 67), (201, 64)]))
@settings(max_examples=6, deadline=None)
def test_an_image_keeps_all_the_detail_of_itself(seed: int, size: tuple[int, int]) -> None:
    image = phantom(*size, seed)
    assert detail_map(image, image).min() > 0.99


@pytest.mark.parametrize("kind", LARGEST_PLANTED)
def test_a_planted_fault_of_fine_detail_is_below_every_harmless_change(kind: str) -> None:
    faulty = planted(kind)
    pair = (PHOTO, faulty) if kind.startswith("erased") else (faulty, PHOTO)
    harmless = [HARMLESS[name](PHOTO, np.random.default_rng(0)) for name in ("sharpen", "denoise", "recompression")]
    assert worst_detail(*pair).value < min(worst_detail(changed, PHOTO).value for changed in harmless) - 0.1


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_change_of_the_whole_picture_keeps_its_detail(name: str) -> None:
    assert worst_detail(HARMLESS[name](PHOTO, np.random.default_rng(1)), PHOTO).value > FLOORS.detail


def test_the_worst_detail_is_where_the_vessel_is_in_a_photo_of_any_size() -> None:
    for size in ((480, 272), (1920, 1088)):
        photo = cv2.resize(PHOTO, size, interpolation=cv2.INTER_CUBIC)
        changed = vessel(photo, np.random.default_rng(1), width_px=3 * size[0] / 480, depth=0.6)
        box = worst_detail(changed, photo).box
        marked = np.abs(changed.astype(int) - photo).max(axis=2)[box.top : box.bottom, box.left : box.right]
        assert marked.max() > 10
        assert (box.right - box.left) * (box.bottom - box.top) < 0.02 * size[0] * size[1]


def test_larger_photos_are_compared_at_a_megapixel_and_smaller_ones_as_they_are() -> None:
    assert to_detail_scale(PHOTO) is PHOTO
    height, width = to_detail_scale(np.zeros((1080, 1920, 3), np.uint8)).shape[:2]
    assert 0.99 * DETAIL_PIXELS < height * width <= DETAIL_PIXELS
    assert width / height == pytest.approx(16 / 9, rel=0.01)


@pytest.mark.parametrize("kind", ["inserted vessel", "halo at edges", "checkerboard"])
def test_the_guard_blends_fine_detail_back_until_the_floor_holds_and_keeps_the_light(kind: str) -> None:
    output = np.clip(planted(kind).astype(np.int16) + 12, 0, 255).astype(np.uint8)
    judgement = judge(output, PHOTO, FLOORS)
    assert judgement.missed == ("detail",)
    assert judgement.verdict is Verdict.CONSTRAINED
    assert judgement.detail == worst_detail(judgement.image, PHOTO)
    assert judgement.detail.value >= FLOORS.detail
    assert judgement.image.mean() - PHOTO.mean() == pytest.approx(output.mean() - PHOTO.mean(), abs=1)


def test_a_full_size_photo_keeps_the_floor_on_its_own_pixels() -> None:
    photo = cv2.resize(PHOTO, (1441, 813), interpolation=cv2.INTER_CUBIC)
    output = halo(checkerboard(photo, np.random.default_rng(2), levels=16), np.random.default_rng(3), amount=20)
    judgement = judge(output, photo, FLOORS)
    assert "detail" in judgement.missed
    assert not missed_floors(measure(judgement.image, photo, detail=True), FLOORS)


def test_a_floor_for_what_was_not_measured_is_not_kept() -> None:
    assert missed_floors(measure(PHOTO, PHOTO), FLOORS) == ("detail",)
    assert missed_floors(measure(PHOTO, PHOTO, detail=True), FLOORS) == ()


def test_a_card_without_the_floor_measures_no_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_card(Path(__file__).parents[2] / "models" / "lamegan-fast" / "1.0.0" / "card.json")
    floors = card.floors.model_copy(update={"detail": None})
    monkeypatch.setattr(detail_module, "detail_evidence", None)
    assert judge(planted("halo at edges"), PHOTO, floors).detail is None


def test_images_of_different_sizes_are_refused() -> None:
    with pytest.raises(ImageDimensions):
        worst_detail(PHOTO, PHOTO[:-1])


def test_a_detector_is_fitted_from_pairs_and_written_as_the_service_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = make_detail_examples([phantom(320, 300, 0)], 24, 0)
    assert 0 < examples.faulty.sum() < 24
    write_network(fit_detail_detector(examples, 2, 0), tmp_path / "quality" / "detail.npz")
    monkeypatch.setattr(detail_module, "files", lambda _package: tmp_path / "quality")
    detail_module.detail_weights.cache_clear()
    try:
        values = detail_map(PHOTO, PHOTO)
        assert values.shape == (34, 60)
        tiles, picture = detail_evidence(PHOTO, PHOTO)
        assert (tiles.shape[0], picture.shape) == (18, (10,))
    finally:
        detail_module.detail_weights.cache_clear()
    with pytest.raises(DataError, match="needs clean photos"):
        make_detail_examples([], 1, 0)
