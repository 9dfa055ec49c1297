"""The LaSSIM that trains is the LaSSIM that is reported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_training.losses.lassim import lassim, residual, residual_ssim
from service.quality import lassim as metric

SIZES = [(56, 56), (57, 91), (64, 64), (97, 131), (128, 75), (272, 480), (333, 271)]


def pair(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random image and a disturbed one, (H, W, 3) float64 in [0, 1]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8))
    first = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 255
    return first, np.clip(first + rng.normal(0, 0.05, first.shape), 0, 1)


def batch(*images: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(dtype)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("dtype", "apart"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_it_equals_the_metric_on_odd_and_even_sizes(height, width, dtype, apart):
    first, second = pair(height, width)
    got = lassim(batch(first, dtype=dtype), batch(second, dtype=dtype))
    assert got.dtype == dtype
    assert got.item() == pytest.approx(metric.lassim(first, second), abs=apart)


@pytest.mark.parametrize("level", range(6))
def test_it_equals_the_metric_at_every_level(level):
    first, second = pair(272, 480)
    got = lassim(batch(first, dtype=torch.float64), batch(second, dtype=torch.float64), level=level)
    assert got.item() == pytest.approx(metric.lassim(first, second, level=level), abs=1e-9)


def test_a_batch_scores_each_pair_as_if_it_were_alone():
    pairs = [pair(97, 131, seed) for seed in range(4)]
    firsts, seconds = (batch(*side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    alone = [metric.lassim(first, second) for first, second in pairs]
    assert lassim(firsts, seconds).tolist() == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_images_score_one(dtype):
    flat = torch.full((1, 3, 64, 64), 0.3, dtype=dtype)
    assert lassim(flat, flat).item() == 1
    assert lassim(flat, flat * 2).item() == 1


def test_its_gradients_are_right_where_the_reference_sets_the_range():
    torch.manual_seed(0)
    output = (0.4 + 0.2 * torch.rand(2, 3, 16, 18, dtype=torch.float64)).requires_grad_()
    reference = torch.rand(2, 3, 16, 18, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda image: lassim(image, reference, level=1), (output,))


def test_the_authors_numbers_come_out_of_their_own_images(throat: Path):
    original, blur, elastic = (
        np.asarray(Image.open(throat / f"image_{name}.png").convert("RGB")) / 255
        for name in ("original", "blur", "elastic_blur")
    )
    side = batch(original, original, dtype=torch.float64)
    scores = lassim(batch(blur, elastic, dtype=torch.float64), side)
    assert scores.tolist() == pytest.approx([0.90532, 0.81847], abs=1e-5)


def test_the_kornia_pyramid_is_the_other_one_that_the_authors_train_with(throat: Path):
    original, blur = (
        batch(np.asarray(Image.open(throat / f"image_{name}.png").convert("RGB")) / 255, dtype=torch.float64)
        for name in ("original", "blur")
    )
    first, second = (residual(image, pyramid="kornia") for image in (blur, original))
    # Of kornia 0.9.0's own pyrdown and pyrup, from which this port differs by nothing at all.
    assert residual_ssim(first, second).item() == pytest.approx(0.935462, abs=1e-6)


def test_images_of_two_shapes_and_images_without_that_level_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        lassim(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 65))
    with pytest.raises(ValueError, match="smaller than the 7x7 window"):
        lassim(torch.zeros(1, 3, 48, 48), torch.zeros(1, 3, 48, 48))


def test_no_gradient_leads_to_a_blot_although_the_score_rises_with_it():
    torch.manual_seed(0)
    second = 0.05 * torch.randn(1, 1, 40, 60)
    first = second + 0.03 * torch.randn(1, 1, 40, 60)
    dot = torch.zeros_like(first)
    dot[..., 20, 30] = 1
    scores = []
    for strength in (0.5, 1.0, 2.0):
        amplitude = torch.tensor(strength, requires_grad=True)
        score = residual_ssim(first + amplitude * dot, second).sum()
        score.backward()
        assert amplitude.grad.item() < 0
        scores.append(score.item())
    assert scores[0] + 0.1 < scores[-1]
    assert scores == sorted(scores)
