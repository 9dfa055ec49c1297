"""Each loss term is its equation, on tensors small enough to compute by hand."""

import numpy as np
import pytest
import torch

from model_training.config.load import load_config
from model_training.config.schema import CycleWeights, LameganWeights, MiinetWeights, StillganWeights
from model_training.losses.cyclegan import CycleGan, cycle_terms, identity_terms, least_squares
from model_training.losses.exchange import Exchange
from model_training.losses.lamegan import Lamegan, StructureDistance, colour_distance
from model_training.losses.lassim import residual
from model_training.losses.miinet import Miinet
from model_training.losses.objective import build_objective
from model_training.losses.stillgan import StillGan, local_structure, unevenness
from model_training.networks.vgg import VggFeatures
from service.errors import ConfigurationError, DataError
from tests.training_files import write_vgg


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return VggFeatures(write_vgg(tmp_path_factory.mktemp("weights") / "vgg.npz"))


def photo(seed: int, size: int = 64) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def level(value: float, size: int = 8) -> torch.Tensor:
    return torch.full((1, 3, size, size), value)


def exchange(x, y, fake_y, fake_x, rebuilt_x, rebuilt_y) -> Exchange:
    return Exchange(x, y, fake_y, fake_x, rebuilt_x, rebuilt_y, lambda image: image + 0.25, lambda image: image - 0.5)


LEVELS = exchange(level(0.0), level(0.5), level(0.25), level(0.0), level(0.125), level(0.75))


def test_the_adversarial_term_is_the_mean_square_from_the_target():
    scores = torch.tensor([[0.0, 0.5], [1.0, 2.0]])
    assert least_squares(scores, 1.0).item() == pytest.approx((1 + 0.25 + 0 + 1) / 4)
    assert least_squares(scores, 0.0).item() == pytest.approx((0 + 0.25 + 1 + 4) / 4)


def test_the_cycle_term_is_the_weighted_l1_of_what_comes_back():
    terms = cycle_terms(LEVELS, 10.0)
    assert terms["cycle_x"].item() == pytest.approx(10 * 0.125)
    assert terms["cycle_y"].item() == pytest.approx(10 * 0.25)


def test_the_identity_term_is_the_weighted_l1_of_what_stays_on_its_side():
    terms = identity_terms(LEVELS, 5.0)
    assert terms["identity_y"].item() == pytest.approx(5 * 0.25)
    assert terms["identity_x"].item() == pytest.approx(5 * 0.5)
    assert identity_terms(LEVELS, 0.0) == {}


def test_cyclegan_s_identity_is_half_of_its_cycle_weight():
    terms = CycleGan(CycleWeights()).terms(LEVELS)
    assert {name: round(value.item(), 6) for name, value in terms.items()} == {
        "cycle_x": 1.25, "cycle_y": 2.5, "identity_y": 1.25, "identity_x": 2.5,
    }  # fmt: skip


def test_miinet_compares_features_of_the_pixels_both_ways(features):
    x, y, fake_y, fake_x = (photo(seed) for seed in range(4))
    terms = Miinet(MiinetWeights(), features).terms(exchange(x, y, fake_y, fake_x, x, y))
    assert terms["perceptual_x"].item() == pytest.approx(0.5 * (features(x) - features(fake_y)).abs().mean().item())
    assert terms["perceptual_y"].item() == pytest.approx(0.5 * (features(y) - features(fake_x)).abs().mean().item())
    assert terms["cycle_x"].item() == terms["cycle_y"].item() == 0


def test_lamegan_compares_features_of_the_level_3_residuals_both_ways(features):
    x, y, fake_y, fake_x = (photo(seed) for seed in range(4))
    terms = Lamegan(LameganWeights(), features).terms(exchange(x, y, fake_y, fake_x, x, y))

    def seen(image):
        return features(residual(image, level=3).repeat(1, 3, 1, 1))

    assert terms["structure_x"].item() == pytest.approx(0.25 * (seen(x) - seen(fake_y)).abs().mean().item())
    assert terms["structure_y"].item() == pytest.approx(0.25 * (seen(y) - seen(fake_x)).abs().mean().item())
    assert "colour_x" not in terms
    assert "identity_x" not in terms


def test_the_structure_term_is_zero_for_the_identity_and_has_gradients(features):
    distance = StructureDistance(features)
    image = photo(0).requires_grad_()
    assert distance(image, image).item() == 0
    distance(image, photo(1)).backward()
    assert image.grad.isfinite().all()
    assert image.grad.abs().sum() > 0


def test_the_structure_term_s_pyramid_and_level_are_the_configuration_s(features):
    first, second = photo(0), photo(1)
    values = {
        (name, level): StructureDistance(features, level=level, pyramid=name)(first, second).item()
        for name in ("opencv", "kornia")
        for level in (2, 3)
    }
    assert len(set(values.values())) == 4


def test_the_colour_term_is_free_under_one_saturation_gain_and_costs_for_one_red_place():
    image = photo(0) * 0.4
    grey = image.mean(dim=1, keepdim=True)
    assert colour_distance(grey + 1.5 * (image - grey), image).item() == pytest.approx(0, abs=1e-6)
    assert colour_distance(image + 0.2, image).item() == pytest.approx(0, abs=1e-6)
    redder = image.clone()
    redder[:, 0, :16, :16] += 0.4
    assert colour_distance(redder, image).item() > 0.005


def test_the_colour_term_equals_its_hand_computed_value():
    # Two regions: opponent colours of the input (0.4, 0.2) and (0.4, 0.2), of the output (0.4, 0.2) and (0.8, 0.4).
    place = torch.tensor([0.4, 0.0, 0.0]).view(1, 3, 1, 1)
    image = torch.cat((place, place), dim=3)
    output = torch.cat((place, 2 * place), dim=3)
    # Gain (0.16 + 0.04 + 0.32 + 0.08) / 0.4 = 1.5; each region is 0.5 of its input colour away from it.
    expected = (0.2 + 0.1 + 0.2 + 0.1) / 4
    assert colour_distance(_stretched(output), _stretched(image), grid=2).item() == pytest.approx(expected)


def _stretched(places: torch.Tensor) -> torch.Tensor:
    return places.repeat_interleave(4, dim=3).repeat_interleave(8, dim=2)


def test_colour_preservation_is_an_option_of_lamegan_that_the_paper_leaves_off(features):
    assert load_config("paper").lamegan.colour == 0
    x, y = photo(0), photo(1)
    terms = Lamegan(LameganWeights(colour=2.0), features).terms(exchange(x, y, y, x, x, y))
    assert terms["colour_x"].item() == pytest.approx(2 * colour_distance(y, x).item())
    assert terms["colour_y"].item() == pytest.approx(2 * colour_distance(x, y).item())


def test_stillgan_s_illumination_is_the_mean_distance_of_patches_from_the_whole():
    # Left half -1, right half 1: in [0, 1] each patch is 0.5 from the mean of 0.5; bicubic keeps constants.
    image = torch.cat((torch.full((1, 3, 64, 32), -1.0), torch.full((1, 3, 64, 32), 1.0)), dim=3)
    local = torch.tensor([-0.5, 0.5]).view(1, 1, 1, 2).expand(1, 3, 2, 2)
    smooth = torch.nn.functional.interpolate(local, size=(64, 64), mode="bicubic", align_corners=False)
    assert unevenness(image, 32).item() == pytest.approx(smooth.abs().mean().item(), abs=1e-6)
    assert unevenness(level(0.3, 64), 32).item() == pytest.approx(0, abs=1e-5)


def test_stillgan_s_structure_is_the_correlation_in_a_gaussian_window():
    # One window alone, at the centre of a 9x9 image with a zero frame far away, computed with NumPy.
    first, second = (photo(seed, 33).double() for seed in (0, 1))
    kernel = np.exp(-((np.arange(9) - 4.0) ** 2) / (2 * 1.5**2))
    window = np.outer(kernel, kernel) / kernel.sum() ** 2
    a, b = ((side[0].numpy() + 1) / 2 for side in (first, second))
    a, b = (np.pad(side, ((0, 0), (4, 4), (4, 4))) for side in (a, b))
    values = []
    for channel in range(3):
        for row in range(33):
            for column in range(33):
                p, q = (side[channel, row : row + 9, column : column + 9] for side in (a, b))
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * p * p).sum() - mp**2 + 1e-4, (window * q * q).sum() - mq**2 + 1e-4
                cov = (window * p * q).sum() - mp * mq + 1e-4
                values.append((cov + 0.00045) / (np.sqrt(vp) * np.sqrt(vq) + 0.00045))
    assert local_structure(first.float(), second.float(), 9).item() == pytest.approx(np.mean(values), abs=1e-5)
    assert local_structure(first.float(), first.float(), 9).item() == pytest.approx(1, abs=1e-6)


def test_stillgan_weighs_its_terms_as_multiples_of_the_cycle():
    x, y, fake_y, fake_x = (photo(seed) for seed in range(4))
    terms = StillGan(StillganWeights()).terms(exchange(x, y, fake_y, fake_x, x, y))
    uneven = (unevenness(fake_y, 32) + unevenness(fake_y, 64)) / 2
    assert terms["illumination_y"].item() == pytest.approx(10 * 0.1 * uneven.item(), rel=1e-5)
    assert terms["structure_x"].item() == pytest.approx(10 * 0.5 * (1 - local_structure(fake_y, x, 9)).item(), rel=1e-5)
    assert terms["structure_y"].item() == pytest.approx(10 * 0.5 * (1 - local_structure(fake_x, y, 9)).item(), rel=1e-5)
    assert terms["identity_x"].item() == pytest.approx(5 * 0.5, rel=1e-5)


def test_terms_that_are_small_differences_keep_float32_under_autocast(features):
    x, y = photo(0), photo(1)
    close = x + 0.02 * y
    exact = local_structure(close, x, 9), StructureDistance(features)(close, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = local_structure(close, x, 9), StructureDistance(features)(close, x)
    assert rounded[0].item() == exact[0].item()
    assert rounded[1].item() == exact[1].item()


@pytest.mark.parametrize("objective", ["lamegan", "miinet"])
def test_an_objective_that_needs_vgg_says_so_when_no_file_is_named(objective):
    with pytest.raises(DataError, match="--vgg"):
        build_objective(load_config("smoke", [f"objective={objective}"]))


def test_a_crop_too_small_for_an_objective_is_one_clear_sentence(tmp_path):
    vgg = f"features.weights={write_vgg(tmp_path / 'vgg.npz')}"
    with pytest.raises(ConfigurationError, match=r"level 4 needs a crop of at least 128, not 64"):
        build_objective(load_config("smoke", ["lamegan.level=4", vgg]))
    with pytest.raises(ConfigurationError, match="not made of patches of 48"):
        build_objective(load_config("smoke", ["objective=stillgan", "stillgan.patches=[48]"]))
