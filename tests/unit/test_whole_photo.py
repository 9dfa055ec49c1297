"""What the detail stage knows of a whole photo: its spectrum, the filter told by it, and how colour follows luma."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional

from model_training.config.pretrain import WarmStart
from model_training.data.phantom import phantom
from model_training.data.signal_faults import shake
from model_training.data.stage_pairs import DetailPairs, Sources
from model_training.networks import build_generator
from model_training.networks.guided import colour_lines
from model_training.networks.restorer import Restorer
from model_training.networks.spectrum import LEAST_POWER, TILE_PX, Spectrum, WholePhotoFilter
from model_training.training.stages import Stage, rate_share
from tests.training_files import filtered


def shaken_filter() -> WholePhotoFilter:
    network = WholePhotoFilter().requires_grad_(False)
    network.out.weight.copy_(0.02 * torch.randn(network.out.weight.shape, generator=torch.Generator().manual_seed(0)))
    return network


def striped(period_px: float, angle: float, side_px: int = 96) -> torch.Tensor:
    along = torch.arange(side_px).float()
    across = along[None, :] * math.cos(angle) + along[:, None] * math.sin(angle)
    return 0.5 * torch.sin(2 * math.pi / period_px * across)[None, None]


@pytest.mark.parametrize(("angle", "column", "row"), [(0.0, 4, 0), (math.pi / 2, 0, 4), (math.pi / 4, 4, 4)])
def test_the_spectrum_shows_how_often_and_in_which_direction(angle: float, column: int, row: int) -> None:
    period = TILE_PX / math.hypot(column, row)
    spectrum = Spectrum()(striped(period, angle)).unflatten(1, (TILE_PX // 2 + 1, TILE_PX))[0]
    strongest = int(spectrum.argmax())
    assert (strongest // TILE_PX, strongest % TILE_PX) == (column, row)


def test_the_spectrum_is_that_of_the_windowed_tiles() -> None:
    luma = torch.randn(1, 1, 64, 80, generator=torch.Generator().manual_seed(0))
    window = np.hanning(TILE_PX + 1)[:-1]
    window = window / np.linalg.norm(window)
    powers = [
        np.log(np.abs(np.fft.fft2(tile * np.outer(window, window))) ** 2 + LEAST_POWER)
        for tile in (luma[0, 0, top : top + 32, left : left + 32].numpy() for top in (0, 32) for left in (0, 32))
    ]
    expected = np.mean(powers, 0)[:, : TILE_PX // 2 + 1].T
    assert np.allclose(Spectrum()(luma).reshape(expected.shape).numpy(), expected, atol=1e-3)


def test_a_whole_photos_filter_is_its_own_in_every_batch_and_in_the_export() -> None:
    network = shaken_filter()
    beside = torch.randn(13, 13, generator=torch.Generator().manual_seed(2))
    luma = torch.cat([striped(7, 0.3), striped(4, 1.2), 0.1 * torch.randn(1, 1, 96, 96)])
    together = network(luma, beside)
    filters = network.filters(luma)
    assert not torch.allclose(filters[0], filters[1], atol=1e-4)
    assert torch.allclose(filters, filters.flip(1, 2), atol=1e-6)
    assert filters.sum((1, 2)).abs().max() < 1e-5
    for one, own, made in zip(luma, filters, together, strict=True):
        plain = torch.cat([filtered(one[0], kernel)[None] for kernel in (own, beside)], 1)
        assert torch.allclose(made[None], functional.pixel_unshuffle(plain, 2), atol=1e-5)
    network.fix()
    assert torch.allclose(together, network(luma, beside), atol=1e-6)


def test_colour_takes_its_edges_over_from_luma_and_nothing_where_luma_is_flat() -> None:
    halves = torch.zeros(1, 3, 32, 32)
    halves[:, :, :, 16:] = torch.tensor([0.5, 0.2, -0.1])[None, :, None, None]
    gain, offset = colour_lines(halves)
    made = gain * halves[:, :1] + offset
    assert (made - halves[:, 1:]).abs().max() < 0.02
    assert 0.2 < gain[0, 0, 16, 15:17].mean() < 0.4
    assert gain[:, :, :, :6].abs().max() == 0
    assert torch.allclose(made[:, :, :, :6], halves[:, 1:, :, :6])


def test_the_detail_stage_sees_what_spectra_are_usual_before_it_learns() -> None:
    photos = [phantom(240, 200, seed) for seed in range(3)]
    restorer = build_generator("restorer")
    assert isinstance(restorer, Restorer)
    before = deepcopy(restorer.detail.whole_filter.centre)
    stage = Stage(WarmStart(stage="detail"), restorer)
    stage.measure(restorer, DetailPairs(Sources(photos, photos), 0, drawn=0), torch.device("cpu"))
    known = restorer.detail.whole_filter
    assert not torch.equal(known.centre, before)
    assert known.centre[0] > known.centre[-1], "low frequencies are stronger than high ones in any photo"
    assert known.spread.min() > 0
    assert torch.isfinite(known.spread).all()


@pytest.mark.parametrize(
    ("name", "share"),
    [("detail.whole_filter.out.weight", 0.6), ("detail.mix_half.weight", 1), ("colour.of_all.weight", 0.06)],
)
def test_weights_learn_at_their_share_of_the_rate(name: str, share: float) -> None:
    assert rate_share(name) == share


def test_a_shake_is_along_a_line_keeps_the_brightness_and_differs_each_time() -> None:
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    rng, seen = np.random.default_rng(1), []
    for _ in range(20):
        kernel = shake(point, rng)[..., 0]
        rows, columns = np.mgrid[-20:21, -20:21]
        moments = np.array([[(kernel * a * b).sum() for a in (columns, rows)] for b in (columns, rows)])
        across, along = np.linalg.eigvalsh(moments)
        assert kernel.sum() == pytest.approx(1, abs=1e-4)
        assert across < 1, "thin"
        seen.append(along)
    assert min(seen) < 2 < 6 < max(seen), "short ones and long ones"
