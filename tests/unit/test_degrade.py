"""Degradation: one seed, one image; every fault does what its name says."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model_training.data import degradation
from model_training.data import photo_faults as faults
from model_training.data.degradation import HELD_OUT, RECIPES, Recipe, degrade, recipe_named, write_degraded
from model_training.data.phantom import phantom, write_phantoms
from model_training.data.photo_faults import Scene, through_jpeg
from service.errors import ConfigurationError, ImageDimensions


@pytest.fixture(scope="module")
def photo():
    return phantom(160, 112, 4)


def _only(fault, photo, seed=3, strength=(50.0, 1.0)):
    return degrade(photo, seed, recipe=Recipe(((fault, 1.0),), strength, shuffled=False), unit_px=1.0)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_one_seed_makes_one_image_and_another_seed_another(photo, recipe):
    first, again, other = (degrade(photo, seed, recipe=recipe) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_shape_and_type_are_kept_and_the_input_is_left_alone(photo, recipe):
    before = photo.copy()
    for seed in range(20):
        made = degrade(photo, seed, recipe=recipe)
        assert made.shape == photo.shape
        assert made.dtype == np.uint8
    assert np.array_equal(photo, before)


def test_every_seed_of_the_held_out_recipe_changes_the_photo(photo):
    assert all(np.any(degrade(photo, seed, recipe=HELD_OUT) != photo) for seed in range(20))


def test_more_strength_moves_the_photo_further_on_average(photo):
    def distance(strength):
        made = [degrade(photo, seed, strength=strength).astype(float) for seed in range(25)]
        return np.mean([np.abs(image - photo).mean() for image in made])

    assert distance(0.0) < distance(0.5) < distance(1.0)


def test_haze_takes_contrast_and_lifts_black(photo):
    made = _only(faults.haze, photo)
    assert made.astype(float).std() < 0.8 * photo.astype(float).std()
    assert made.min() > photo.min()


@pytest.mark.parametrize("fault", [faults.defocus, faults.motion, faults.resampling])
def test_blurring_faults_take_fine_detail_and_keep_the_mean(photo, fault):
    made = _only(fault, photo)
    grain = [np.abs(np.diff(image.astype(float), axis=1)).mean() for image in (made, photo)]
    assert grain[0] < 0.8 * grain[1]
    assert abs(made.mean() - photo.mean()) < 1.5


def test_noise_adds_grain_and_jpeg_hardly_moves_the_mean(photo):
    flat = np.full((96, 96, 3), 128, np.uint8)
    assert _only(faults.noise, flat).astype(float).std() > 3
    assert abs(_only(faults.jpeg, photo).mean() - photo.mean()) < 2


def test_exposure_goes_both_ways(photo):
    means = [_only(faults.exposure, photo, seed).mean() - photo.mean() for seed in range(12)]
    assert min(means) < -10
    assert max(means) > 10


def test_specks_only_brighten_small_places(photo):
    dark = np.full((96, 96, 3), 40, np.uint8)
    made = _only(faults.specks, dark)
    assert made.min() >= 39
    assert 0 < (made > 60).mean() < 0.5


def test_lengths_grow_with_the_photo():
    edge = np.zeros((64, 64, 3), np.float32)
    edge[:, 32:] = 1
    widths = []
    for unit in (1.0, 3.0):
        made = faults.defocus(edge, Scene(np.random.default_rng(0), unit, 0.5))
        widths.append(int(((made[32, :, 0] > 0.02) & (made[32, :, 0] < 0.98)).sum()))
    assert widths[1] > 2 * widths[0]


def test_a_tiny_image_is_refused_in_one_sentence():
    with pytest.raises(ImageDimensions, match="too small to degrade"):
        degrade(np.zeros((15, 64, 3), np.uint8), 0)


def test_a_folder_of_good_photos_becomes_a_folder_of_bad_ones(tmp_path):
    assert write_phantoms(tmp_path / "good", 2, (96, 64), 0) == 2
    assert write_degraded(tmp_path / "good", tmp_path / "bad", 11) == 2
    names = sorted(path.name for path in (tmp_path / "bad").iterdir())
    assert names == ["00000.png", "00001.png"]


def test_a_recipe_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ConfigurationError, match="training, heavy, held-out"):
        recipe_named("gentle")


def test_every_second_photo_of_training_ends_as_a_file_with_its_grain_below_its_blocks():
    ends = []
    for seed in range(400):
        order = [fault.__name__ for fault in degradation._compose(degradation.TRAINING, np.random.default_rng(seed))]
        if "jpeg" in order and "noise" in order and len(order) > 3:
            ends.append(order[-2:] == ["noise", "jpeg"])
    assert len(ends) > 50
    assert 0.4 < np.mean(ends) < 0.75


def test_a_jpeg_is_what_pillow_writes_with_red_as_red():
    image = phantom(96, 64, 3)
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=30, subsampling="4:2:0")
    assert np.abs(through_jpeg(image, 30).astype(int) - np.asarray(Image.open(file))).mean() < 0.5
