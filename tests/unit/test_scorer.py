"""Scoring takes no memory that enhancement's pixel budget does not allow, and decodes no pair that cannot match."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from service.errors import CommandError, DeadlineExceeded, ImageDimensions, UndecodableImage, UnknownModel
from service.pipeline import Deadline, EnhanceDefaults, Enhancer, Generator, ImageFile, Scorer
from service.pipeline.deadline import PixelBudget
from service.quality.guardrail import measure
from tests.live import encoded, scene

PIXELS = 160 * 120
PHOTO, OTHER = scene(160, 120), scene(160, 120, seed=1)


class NoModels:
    """For what runs no model."""

    def lease(self, reference: str | None) -> AbstractContextManager[Generator]:
        raise UnknownModel(str(reference))


def expired() -> Deadline:
    return Deadline(deadline=time.monotonic() - 1)


def test_it_measures_as_the_guardrail_does() -> None:
    scorer = Scorer(PixelBudget(2 * PIXELS), PIXELS)
    with scorer.score(ImageFile(encoded(OTHER)), ImageFile(encoded(PHOTO))) as scored:
        assert scored.measures == measure(OTHER, PHOTO)
        assert np.array_equal(scored.input.pixels, PHOTO)


def test_both_images_count_against_the_budget_while_they_are_scored() -> None:
    budget = PixelBudget(2 * PIXELS)
    scorer, file = Scorer(budget, PIXELS), ImageFile(encoded(PHOTO))
    with scorer.decoded(file, file), pytest.raises(DeadlineExceeded), budget.hold(1, expired()):
        pass
    with budget.hold(1, Deadline()), pytest.raises(DeadlineExceeded), scorer.decoded(file, file, expired()):
        pass
    with budget.hold(2 * PIXELS, expired()):
        pass


def test_an_enhancer_scores_under_its_own_budget() -> None:
    enhancer = Enhancer(NoModels(), EnhanceDefaults(max_pixels=PIXELS))
    file = ImageFile(encoded(PHOTO))
    with (
        enhancer._room.hold(1, Deadline()),
        pytest.raises(DeadlineExceeded),
        enhancer.scorer.score(file, file, expired()),
    ):
        pass


def test_sizes_that_differ_are_told_from_the_headers_alone() -> None:
    scorer = Scorer(PixelBudget(10 * PIXELS), 10 * PIXELS)
    cut_off = ImageFile(encoded(scene(170, 120))[:200])
    with pytest.raises(ImageDimensions, match="differ in size"), scorer.decoded(cut_off, ImageFile(encoded(PHOTO))):
        pass
    with pytest.raises(UndecodableImage), scorer.decoded(cut_off, cut_off):
        pass


def test_a_file_with_a_name_is_told_by_it(tmp_path: Path) -> None:
    scorer = Scorer(PixelBudget(PIXELS), PIXELS)
    named = ImageFile(b"nothing", name=str(tmp_path / "a.png"))
    with pytest.raises(CommandError, match=r"a\.png"), scorer.decoded(named, ImageFile(encoded(PHOTO))):
        pass
