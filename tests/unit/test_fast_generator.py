"""The fast generator: the identity at first, and by construction no grid, no frame, no moved structure."""

import math

import pytest
import torch

from model_training.export.onnx import require_parity, to_onnx
from model_training.export.wrapper import PixelContract
from model_training.networks.fast import (
    COEFFICIENTS,
    LARGEST,
    LEAST_GAINS,
    PARTS,
    SCALES,
    FastGenerator,
    GlobalModulation,
    _with_grain,
    apply_coefficients,
    fine_bands,
    full_size,
    least_finest,
    squared_distance,
)

SMALL = {"widths": (8, 12, 16), "blocks": (1, 1, 1)}


def tell(network, coefficient, value):
    """Makes the trunk predict `value` for one coefficient, everywhere."""
    network.trunk.head.register_forward_hook(lambda _module, _given, maps: maps + value * one_hot(coefficient, maps))


def one_hot(coefficient, maps):
    chosen = torch.zeros(1, maps.shape[1], 1, 1)
    chosen[:, coefficient] = 1
    return chosen


@pytest.fixture
def trained():
    """A small generator whose coefficients are far from zero, as after training."""
    torch.manual_seed(0)
    network = FastGenerator(**SMALL)
    torch.nn.init.normal_(network.trunk.head.weight, 0, 0.05)
    return network.eval()


def test_an_untrained_generator_returns_its_input():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 64, 80) * 2 - 1
    with torch.no_grad():
        assert torch.equal(FastGenerator(**SMALL).eval()(x), x)


def test_the_output_keeps_shape_and_range(trained):
    for height, width in ((64, 64), (80, 112), (272, 480)):
        y = trained(torch.rand(1, 3, height, width) * 2 - 1)
        assert y.shape == (1, 3, height, width)
        assert y.abs().max() <= 1


def test_without_a_bulge_a_flat_image_stays_flat_to_the_very_border(trained):
    with torch.no_grad():
        y = trained(torch.full((1, 3, 96, 96), 0.3))
    assert (y.amax((2, 3)) - y.amin((2, 3))).max() < 1e-5


def test_images_of_a_batch_do_not_see_each_other(trained):
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        together, alone = trained(x), torch.cat([trained(image[None]) for image in x])
    assert torch.allclose(together, alone, atol=1e-5)


def test_every_band_is_even_so_that_nothing_moves():
    spike = torch.zeros(1, 3, 33, 33)
    spike[..., 16, 16] = 1
    bands, oriented = fine_bands(spike)
    for band in (*bands, *oriented):
        assert torch.allclose(band, band.flip(2, 3), atol=1e-6)
        assert band.sum().abs() < 1e-5


def test_zero_coefficients_are_the_identity_and_the_curve_keeps_black_and_white():
    x = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3).expand(1, 3, 3, 3)
    zero = torch.zeros(1, COEFFICIENTS, 3, 3)
    assert torch.equal(apply_coefficients(x, zero.split(PARTS, 1), fine_bands(x)), x)
    curved = zero.clone()
    curved[:, 12:15] = 0.5
    y = apply_coefficients(x, curved.split(PARTS, 1), fine_bands(x))
    assert torch.allclose(y[0, 0, 1], torch.tensor([-1.0, 0.5, 1.0]), atol=1e-6)


def test_the_affine_part_mixes_channels_as_a_matrix_of_rows_red_green_blue():
    x = torch.full((1, 3, 8, 8), 0.0)
    x[:, 1] = 0.5
    coefficients = torch.zeros(1, COEFFICIENTS, 8, 8)
    coefficients[:, 3] = 1.0  # green into red
    coefficients[:, 11] = 0.25  # offset of blue
    y = apply_coefficients(x, coefficients.split(PARTS, 1), fine_bands(x))
    assert torch.allclose(y[0, :, 4, 4], torch.tensor([0.5, 0.5, 0.25]))


def test_the_maps_grow_four_times_by_bilinear_interpolation_each_in_its_place():
    maps = torch.rand(2, COEFFICIENTS, 5, 7)
    whole = torch.nn.functional.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.allclose(torch.cat(full_size(maps), 1), whole, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (5, 9), (17, 30)])
def test_the_squared_distance_is_nought_on_average_symmetric_and_least_in_the_middle(shape):
    away = squared_distance(torch.zeros(2, 3, *shape))
    assert away.shape == (2, 1, *shape)
    assert away.mean().abs() < 1e-5
    assert torch.allclose(away, away.flip(2, 3), atol=1e-6)
    assert away[0, 0, shape[0] // 2, shape[1] // 2] == pytest.approx(away.min().item(), abs=1e-5)
    assert away[0, 0, 0, 0] == pytest.approx(away.max().item(), abs=1e-5)


def test_the_modulation_can_brighten_towards_the_border_as_a_vignette_asks():
    torch.manual_seed(0)
    modulation = GlobalModulation(6)
    x = torch.rand(2, 6, 8, 12)
    assert torch.equal(modulation(x), x)
    with torch.no_grad():
        modulation.out.bias[12:].fill_(0.5)
    change = (modulation(x) - x).detach()
    assert torch.allclose(change, 0.5 * squared_distance(x).expand_as(x), atol=1e-6)


def test_a_working_modulation_is_exported_as_it_is(trained):
    torch.nn.init.normal_(trained.trunk.modulation.out.weight, 0, 0.3)
    contract = PixelContract(trained).eval()
    assert require_parity(contract, to_onnx(contract)).worst <= 1


@pytest.mark.parametrize("scale", range(SCALES))
def test_no_more_of_the_luminance_is_taken_away_than_its_bound_and_of_the_colours_all(scale):
    network = FastGenerator(**SMALL).eval()
    torch.manual_seed(0)
    x = 0.5 * (torch.rand(1, 3, 64, 64) - 0.5)
    for coefficient in (15 + 2 * scale, 16 + 2 * scale):  # this scale's gains, of the colours and of the luminance
        tell(network, coefficient, -1.9)
    with torch.no_grad():
        change = network(x) - x
    band = fine_bands(x)[0][scale]
    colours, light = band[:, :3] - band[:, 3:], band[:, 3:]
    least = (least_finest(fine_bands(x)[1][1]).item(), *LEAST_GAINS[1:])
    assert torch.allclose(change, least[scale] * light - colours, atol=1e-5)


def test_the_less_grain_a_photo_has_the_less_of_its_finest_detail_may_be_taken():
    torch.manual_seed(0)
    edges = torch.zeros(1, 1, 64, 96)
    edges[..., 20:, :] = 0.5
    edges[..., 40:] -= 0.4

    def bound(grain):
        photo = (edges + grain / 127.5 * torch.randn(1, 1, 64, 96)).expand(1, 3, 64, 96)
        return least_finest(fine_bands(photo)[1][1]).item()

    bounds = [bound(grain) for grain in (0, 1, 3, 9)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > -0.01
    assert bounds[-1] < 0.95 * LEAST_GAINS[0]


@pytest.mark.parametrize(("pull", "moves"), [(1.0, False), (-1.0, True)], ids=["further down", "back up"])
def test_a_gain_beyond_its_bound_can_come_back_and_goes_no_further(pull, moves):
    gains = torch.zeros(1, COEFFICIENTS, 2, 2)
    light = 16  # the finest band's, of the luminance
    gains[:, light] = -1.5
    gains.requires_grad_()
    _with_grain(gains, torch.full((1, 1, 1, 1), -0.5))[:, light].sum().mul(pull).backward()
    assert (gains.grad[:, light].abs().sum().item() > 0) is moves


def test_gains_within_their_bounds_act_as_they_are():
    network = FastGenerator(**SMALL).eval()
    torch.manual_seed(0)
    x = 0.5 * (torch.rand(1, 3, 64, 64) - 0.5)
    tell(network, 15, 0.5)
    with torch.no_grad():
        change = network(x) - x
    gain = LARGEST * math.tanh(0.5 / LARGEST)
    assert torch.allclose(change, gain * fine_bands(x)[0][0][:, :3], atol=1e-5)


def test_while_training_a_clipped_pixel_still_gets_a_gradient():
    network = FastGenerator(**SMALL).train()
    tell(network, 9, 1.5)  # pushes red past white
    y = network(torch.zeros(1, 3, 64, 64))
    y[:, 0].mean().backward()
    assert y[:, 0].max() <= 1
    assert network.trunk.head.weight.grad[9].abs().max() > 0


def test_where_no_feature_speaks_the_photo_comes_back_bit_by_bit(trained):
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert trained.trunk.head.bias is None
        assert not torch.equal(trained(x), x)
        trained.trunk.leave1.register_forward_hook(lambda _module, _given, features: -features.abs())
        assert torch.equal(trained(x), x)
