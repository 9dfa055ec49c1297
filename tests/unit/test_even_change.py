"""An even veil or lack of light is undone by its own formula; all else stays with the network."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model_training.data.mixture import to_tensor
from model_training.data.phantom import phantom
from model_training.data.photo_faults import through_jpeg
from model_training.evaluation.psnr import psnr
from model_training.networks.colour import COEFFICIENTS, ColourNetwork
from service.pixels import Pixels

Floats = NDArray[np.float32]

SHAPE = (192, 256)


def endoscopic() -> Pixels:
    """A throat in a black surround, with highlights: black and white lie at one value each."""
    photo = phantom(SHAPE[1], SHAPE[0], 3)
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    photo[np.hypot(rows - 96, columns - 128) > 118] = 0
    for row, column in ((60, 90), (120, 150), (90, 200), (140, 70)):
        photo[np.hypot(rows - row, columns - column) < 7] = 255
    return photo


def unclipped() -> Pixels:
    """The same throat without either."""
    return np.asarray(np.clip(phantom(SHAPE[1], SHAPE[0], 3), 30, 225), np.uint8)


class Wavering(ColourNetwork):
    """Asks for `slope` x + `offset`, off by a few grey levels as a whole and by a few more from place to place."""

    def __init__(self, slope: float, offset: float, wave: float = 0.025) -> None:
        super().__init__()
        self.slope, self.offset, self.wave = slope, offset, wave
        self.eval()

    def coefficients(self, x: Tensor, seen: Tensor) -> Tensor:
        height, width = x.shape[2] // 4, x.shape[3] // 4
        maps = torch.zeros(1, COEFFICIENTS, height, width)
        maps[:, [0, 4, 8]] = self.slope - 1 + 0.03 * (self.slope - 1)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        wave = torch.sin(rows / 7) * torch.cos(columns / 9) * self.wave * (self.slope != 1)
        maps[:, 9:12] = self.offset + wave + 0.015 * (self.slope != 1)
        return maps


def mended(network: ColourNetwork, photo: Pixels) -> Pixels:
    with torch.no_grad():
        made = network(to_tensor([photo])).clamp(-1, 1)
    return np.asarray(torch.round((made[0].permute(1, 2, 0) + 1) * 127.5).numpy(), np.uint8)


def without_formula(network: ColourNetwork, photo: Pixels) -> Pixels:
    network.train()
    try:
        return mended(network, photo)
    finally:
        network.eval()


def faulty(photo: Pixels, fault: Callable[[Floats], Floats]) -> Pixels:
    return np.asarray(np.clip(np.rint(255 * fault(photo / np.float32(255))), 0, 255), np.uint8)


def veil(image: Floats) -> Floats:
    return np.asarray(image * 0.7 + np.float32([0.21, 0.2, 0.18]), np.float32)


def dim(image: Floats) -> Floats:
    """Half the light; stored by sRGB."""
    light = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4) * 0.5
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055), np.float32)


def uneven_veil(image: Floats) -> Floats:
    share = np.linspace(0.05, 0.6, image.shape[1], dtype=np.float32)[None, :, None]
    return np.asarray(image * (1 - share) + 0.7 * share, np.float32)


OF_VEIL = (1 / 0.7, (0.3 - 2 * 0.2) / 0.7)
"""Slope and offset in [-1, 1] that undo `veil` but for its tint."""

OF_DIM = (0.5 ** (-1 / 2.4), 1.11 * (0.5 ** (-1 / 2.4) - 1))


@pytest.mark.parametrize(("fault", "asked"), [(veil, OF_VEIL), (dim, OF_DIM)])
def test_an_even_fault_is_undone_to_the_rounding(fault: Callable[[Floats], Floats], asked: tuple[float, float]) -> None:
    clean = endoscopic()
    bad, network = faulty(clean, fault), Wavering(*asked)
    assert psnr(without_formula(network, bad), clean) < 38
    assert psnr(mended(network, bad), clean) > 48


def test_a_veil_is_undone_in_a_file_too() -> None:
    """A file's ringing spreads the extremes, so black is told by means, and white is not told at all."""
    clean = endoscopic()
    bad, network = through_jpeg(faulty(clean, veil), 95), Wavering(*OF_VEIL)
    alone, whole = without_formula(network, bad), mended(network, bad)
    assert psnr(whole, clean) > psnr(alone, clean) + 0.5
    assert whole[:20, :20].max() < alone[:20, :20].max()


def test_black_stays_black_under_more_light() -> None:
    """A gain of linear light is straight in stored values but for the darkest: without its toe, black would be grey."""
    clean = endoscopic()
    made = mended(Wavering(*OF_DIM), faulty(clean, dim))
    assert made[clean.max(2) == 0].max() <= 1


@pytest.mark.parametrize("photo", [endoscopic(), unclipped()])
def test_what_the_network_leaves_alone_stays(photo: Pixels) -> None:
    assert np.array_equal(mended(Wavering(1.0, 0.0), photo), photo)


def test_an_uneven_veil_stays_with_the_network() -> None:
    bad, network = faulty(endoscopic(), uneven_veil), Wavering(*OF_VEIL)
    assert np.array_equal(mended(network, bad), without_formula(network, bad))


def test_without_clipped_ends_nothing_is_said() -> None:
    bad, network = faulty(unclipped(), veil), Wavering(*OF_VEIL)
    assert np.array_equal(mended(network, bad), without_formula(network, bad))


def test_a_change_that_is_not_even_stays_with_the_network() -> None:
    bad, network = faulty(endoscopic(), veil), Wavering(*OF_VEIL, wave=0.2)
    assert np.array_equal(mended(network, bad), without_formula(network, bad))


def test_a_network_that_disagrees_with_the_ends_is_not_overruled() -> None:
    """It says that the lifted black is meant to be grey, 40 levels above black."""
    bad, network = faulty(endoscopic(), veil), Wavering(OF_VEIL[0], OF_VEIL[1] + 90 / 255)
    assert np.array_equal(mended(network, bad), without_formula(network, bad))


def test_white_text_burnt_in_after_the_veil_misleads_nobody() -> None:
    """It is whiter than white, once the veil is away: it says nothing of the veil."""
    bad, network = faulty(endoscopic(), veil), Wavering(*OF_VEIL)
    rows = slice(20, 40)
    bad[rows, 80:180] = 255
    clean = endoscopic()
    clean[rows, 80:180] = 255
    assert psnr(mended(network, bad), clean) > psnr(without_formula(network, bad), clean)


def test_each_photo_of_a_batch_is_judged_by_itself() -> None:
    network = Wavering(*OF_VEIL)
    photos = [faulty(endoscopic(), veil), faulty(endoscopic(), uneven_veil)]
    alone = [mended(network, photo) for photo in photos]
    with torch.no_grad():
        together = network(to_tensor(photos)).clamp(-1, 1)
    for made, expected in zip(together, alone, strict=True):
        pixels = torch.round((made.permute(1, 2, 0) + 1) * 127.5).numpy()
        assert np.abs(pixels - expected).max() <= 1


def test_training_sees_the_networks_own_change() -> None:
    network = Wavering(*OF_VEIL).train()
    x = to_tensor([faulty(endoscopic(), veil)])
    maps = network.coefficients(x, network.statistics.seen(x))
    grown = functional.interpolate(maps, scale_factor=4, mode="bilinear", align_corners=False)
    expected = x + grown[:, [0, 4, 8]] * x + grown[:, 9:12]
    assert torch.allclose(network(x), expected, atol=1e-5)
