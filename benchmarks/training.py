"""How many images a second does the training loop make, against the same step written plainly?

Plainly: each image decoded, resized, cut and flipped from its file at every step, float32 throughout, no TF32, no
fused optimiser, as a first version of CycleGAN's step would be written. Same networks, same objective, same weights.
On a CPU both train the `fast` generator; on a GPU (`--device cuda`) the paper's, and bfloat16 and residency count too.

Run: python -m benchmarks.training [--vgg FILE] [--device cuda] [--turns N]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from benchmarks.measure import ratio, record, take_turns, timing
from model_training.config.load import load_config, override
from model_training.config.schema import TrainingConfig
from model_training.data.batches import to_unit
from model_training.data.phantom import phantom
from model_training.data.photos import load_photos, read_photo, resize
from model_training.losses.cyclegan import least_squares
from model_training.losses.exchange import Exchange
from model_training.losses.objective import build_objective
from model_training.networks import build
from model_training.networks.patchgan import PatchGan
from model_training.training.adversarial import AdversarialTraining
from model_training.training.distributed import Ranks, choose_device
from model_training.training.image_pool import ImagePool
from service.vocabulary import Device

PHOTOS = 16
PHOTO_SIZE = (960, 544)
"""Width and height of the files: twice the training size, as a camera's would be at least."""
CPU_SETTINGS = ["generator={name: fast}", "discriminator={width: 32}", "code.enabled=false", "restoration.weight=0"]


def main() -> None:
    """Time both, print images per second and the ratio, record them."""
    options = _options()
    device = choose_device(options.device)
    if device.type != "cuda":
        torch.set_num_threads(1)
    config = _config(device, options.vgg)
    with tempfile.TemporaryDirectory() as folder:
        lq, hq = (_write_photos(Path(folder) / side, seed) for side, seed in (("lq", 0), ("hq", 100)))
        seconds = take_turns(
            {
                "plain": with_tf32(_plain_step(config, lq, hq, device), allowed=False),
                "loop": with_tf32(_loop_step(config, lq, hq, device), allowed=True),
            },
            turns=options.turns,
            calls=options.calls,
            warm_up=2,
        )
    images = 2 * config.optimiser.batch
    faster = ratio(seconds["plain"], seconds["loop"])
    figures: dict[str, object] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu, one thread",
        "objective": config.objective,
        "generator": config.generator_config.name,
        "images_a_step": images,
        "loop_over_plain": {"median": faster.median, "low": faster.low, "high": faster.high},
    }
    for name, times in seconds.items():
        spent = timing(times)
        figures[name] = {"median_s": spent.median_s, "iqr_s": spent.iqr_s, "images_per_s": images / spent.median_s}
        print(f"{name:6} {spent.median_s * 1e3:9.1f} ms a step, {images / spent.median_s:7.2f} images/s")
    print(f"the loop makes {faster} the images of the plain step")
    print(f"recorded in {record(f'training_{device.type}', figures)}")


def with_tf32(step: Callable[[], object], *, allowed: bool) -> Callable[[], object]:
    """`step`, with float32 products and convolutions on a GPU in TF32 or not; the loop trains with it."""

    def run() -> object:
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        return step()

    return run


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vgg", type=Path, help="VGG16 weights; without them the objective is cyclegan, not lamegan")
    parser.add_argument("--device", choices=Device.__args__, default="cpu")  # type: ignore[attr-defined]
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--calls", type=int, default=2)
    return parser.parse_args()


def _config(device: torch.device, vgg: Path | None) -> TrainingConfig:
    settings = [] if device.type == "cuda" else CPU_SETTINGS
    chosen = [override("features.weights", str(vgg))] if vgg else ["objective=cyclegan"]
    return load_config("paper", [*settings, *chosen])


def _write_photos(folder: Path, seed: int) -> Path:
    folder.mkdir()
    for index in range(PHOTOS):
        Image.fromarray(phantom(*PHOTO_SIZE, seed + index)).save(folder / f"{index}.jpg", quality=92)
    return folder


def _loop_step(config: TrainingConfig, lq: Path, hq: Path, device: torch.device) -> Callable[[], object]:
    size = (config.data.height, config.data.width)
    photos = [load_photos(side, size, least=config.data.crop) for side in (lq, hq)]
    training, ranks = AdversarialTraining(config, *photos, device=device, ranks=Ranks()), Ranks()
    # As the loop does: losses come back as floats.
    return lambda: ranks.agree(training.advance(), asked=False, late=False)


def _plain_step(config: TrainingConfig, lq: Path, hq: Path, device: torch.device) -> Callable[[], object]:
    torch.manual_seed(config.seed)
    G, F = (build(config.generator_config).to(device) for _ in range(2))
    D_x, D_y = (PatchGan(**config.discriminator.model_dump()).to(device) for _ in range(2))
    objective = build_objective(config).to(device)
    generators, discriminators = (
        torch.optim.Adam([*one.parameters(), *other.parameters()], lr=config.optimiser.rate, betas=(0.5, 0.999))
        for one, other in ((G, F), (D_x, D_y))
    )
    pools = {"x": ImagePool(config.pool, 0), "y": ImagePool(config.pool, 1)}
    chance = random.Random(0)
    files = [sorted(side.iterdir()) for side in (lq, hq)]

    def read(paths: list[Path]) -> torch.Tensor:
        data, crop = config.data, config.data.crop
        image = resize(read_photo(chance.choice(paths), least=crop), (data.height, data.width))
        top, left = chance.randint(0, data.height - crop), chance.randint(0, data.width - crop)
        cut = torch.from_numpy(image[top : top + crop, left : left + crop]).permute(2, 0, 1)
        return to_unit((cut.flip(2) if chance.random() < 0.5 else cut)[None].to(device))

    def step() -> dict[str, float]:
        x, y = read(files[0]), read(files[1])
        fake_y, fake_x = G(x), F(y)
        exchange = Exchange(x, y, fake_y, fake_x, F(fake_y), G(fake_x), G, F)
        for judge in (D_x, D_y):
            judge.requires_grad_(False)
        terms = {"y": least_squares(D_y(fake_y), 1), "x": least_squares(D_x(fake_x), 1)} | objective.terms(exchange)
        generators.zero_grad()
        sum(terms.values()).backward()  # type: ignore[union-attr]
        generators.step()
        for judge in (D_x, D_y):
            judge.requires_grad_(True)
        discriminators.zero_grad()
        for side, judge, real, fake in (("x", D_x, x, fake_x), ("y", D_y, y, fake_y)):
            loss = (least_squares(judge(real), 1) + least_squares(judge(pools[side].exchange(fake)), 0)) / 2
            loss.backward()
            terms[f"D_{side}"] = loss
        discriminators.step()
        return {name: value.item() for name, value in terms.items()}

    return step


if __name__ == "__main__":
    main()
