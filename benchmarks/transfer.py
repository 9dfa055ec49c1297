"""Which way of carrying a change to full size keeps most: detail, edges, faithfulness, for what cost?

A photo is taken badly; the ideal generator makes the clean photo at working size, so the clean photo at full size
is what a perfect transfer would give. Three sets: larynx frames in bad light only (veil, exposure, cast), where all of
the fine detail is worth keeping; larynx frames with every fault of `degrade`, noise and blur included; frames and the
throat photo enlarged to 2 megapixels, whose good versions have no detail finer than the working image. Working sizes
are a quarter of a side in the first two sets, the service's own in the third.
Run: python -m benchmarks.transfer [--images N]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.measure import record, take_turns, timing
from model_training.data.degradation import HELD_OUT, degrade
from service.imaging.codecs import decode
from service.imaging.detail_transfer import apply_change, fit_change, transfer
from service.imaging.working_size import working_size
from service.quality.lassim import lassim

Way = Callable[[Any, Any, Any], Any]
ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LAMEGAN_SHARED_DATA", ROOT.parent / "shared"))
WORKING_PIXELS = 480 * 272
COLUMNS = ("psnr_to_clean_db", "sharpness", "edge_error", "flat_error", "lassim_to_input", "lassim_to_clean")


def main() -> None:
    """Measure every way on every set, print the tables, record them."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--images", type=int, default=12, help="frames of each set")
    count = arguments.parse_args().images
    cv2.setNumThreads(1)
    figures: dict[str, object] = {"cost_ms_per_megapixel": _costs()}
    for name, pairs in (
        ("light only", _light(count)),
        ("every fault", _native(count)),
        ("enlarged", _enlarged(count)),
    ):
        table = _measure(list(pairs))
        figures[name] = table
        print(f"\n{name:22}" + "".join(f"{column:>18}" for column in COLUMNS))
        for way, row in table.items():
            print(f"{way:22}" + "".join(f"{row[column]:18.3f}" for column in COLUMNS))
    print(f"\nrecorded in {record('transfer', figures)}")


def enlarged_output(photo: Any, _working: Any, enhanced: Any) -> Any:
    """The generator's own pixels, enlarged: what a service without transfer would deliver."""
    return cv2.resize(enhanced, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def residual(interpolation: int) -> Way:
    """The photo plus the change, enlarged."""

    def way(photo: Any, working: Any, enhanced: Any) -> Any:
        change = enhanced.astype(np.float32) - working
        return _rounded(photo + cv2.resize(change, photo.shape[1::-1], interpolation=interpolation))

    return way


def guided_filter(radius: int, noise: float) -> Way:
    """The fast guided filter as published: output as an affine function of the input, nothing else kept."""

    def way(photo: Any, working: Any, enhanced: Any) -> Any:
        gain, offset = _fit(working.astype(np.float32), enhanced.astype(np.float32), radius, noise, shared=False)
        size = photo.shape[1::-1]
        return _rounded(cv2.resize(gain, size) * photo + cv2.resize(offset, size))

    return way


def affine(radius: int, noise: float, *, shared: bool = False, interpolation: int = cv2.INTER_LINEAR) -> Way:
    """As `service.imaging.detail_transfer`, with other windows, one gain for all channels, or another interpolation."""

    def way(photo: Any, working: Any, enhanced: Any) -> Any:
        value = working.astype(np.float32)
        change = enhanced.astype(np.float32) - value
        gain, _ = _fit(value, change, radius, noise, shared=shared)
        offset = change - gain * value
        size = photo.shape[1::-1]
        return _rounded(photo + cv2.resize(gain, size) * photo + cv2.resize(offset, size, interpolation=interpolation))

    return way


def _fit(value: Any, target: Any, radius: int, noise: float, *, shared: bool) -> tuple[Any, Any]:
    def mean(plane: Any) -> Any:
        return cv2.blur(plane, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT_101)

    mean_value, mean_target = mean(value), mean(target)
    covariance = mean(value * target) - mean_value * mean_target
    variance = mean(value * value) - mean_value * mean_value
    if shared:
        covariance, variance = (np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2) for x in (covariance, variance))
    gain = np.clip(covariance / (variance + noise), -0.95, 2.0)
    return mean(gain), mean(mean_target - gain * mean_value)


WAYS: dict[str, Way] = {
    "output enlarged": enlarged_output,
    "residual, linear": residual(cv2.INTER_LINEAR),
    "residual, cubic": residual(cv2.INTER_CUBIC),
    "guided filter r4": guided_filter(4, 25.0),
    "guided filter r1": guided_filter(1, 2.0),
    "shipped": transfer,
    "affine r1, noise 2": affine(1, 2.0),
    "affine r1, noise 5": affine(1, 5.0),
    "affine r1, noise 10": affine(1, 10.0),
    "affine r1, noise 25": affine(1, 25.0),
    "affine r2": affine(2, 2.0),
    "affine r4": affine(4, 2.0),
    "affine r1, one gain": affine(1, 2.0, shared=True),
    "affine r1, cubic": affine(1, 2.0, interpolation=cv2.INTER_CUBIC),
}


def _native(count: int) -> Iterator[tuple[Any, Any, tuple[int, int]]]:
    for seed, clean in enumerate(_larynx(count)):
        yield clean, degrade(clean, seed, recipe=HELD_OUT), (clean.shape[1] // 4, clean.shape[0] // 4)


def _light(count: int) -> Iterator[tuple[Any, Any, tuple[int, int]]]:
    for clean in _larynx(count):
        veil = 0.3 * np.linspace(0.2, 1, clean.shape[1])[None, :, None]
        dim = np.clip((clean / 255.0) ** 0.8 * 0.55 + veil, 0, 1) * (1.0, 0.95, 0.85)
        yield clean, _rounded(dim * 255), (clean.shape[1] // 4, clean.shape[0] // 4)


def _enlarged(count: int) -> Iterator[tuple[Any, Any, tuple[int, int]]]:
    throat = decode((SHARED / "data" / "throat" / "image_original.png").read_bytes()).pixels
    photos = [(throat, 4), *((frame, 3) for frame in _larynx(count // 2))]
    for seed, (photo, times) in enumerate(photos):
        clean = cv2.resize(photo, None, fx=times, fy=times, interpolation=cv2.INTER_LANCZOS4).astype(np.uint8)
        size = working_size(clean.shape[1], clean.shape[0], WORKING_PIXELS)
        yield clean, degrade(clean, seed, recipe=HELD_OUT), (size.width, size.height)


def _larynx(count: int) -> Iterator[Any]:
    files = sorted((SHARED / "data" / "larynx" / "patient2").glob("seq*/*.webp"))
    for file in files[:: max(1, len(files) // count)][:count]:
        yield decode(file.read_bytes()).pixels


def _measure(pairs: list[tuple[Any, Any, tuple[int, int]]]) -> dict[str, dict[str, float]]:
    rows: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for clean, photo, size in pairs:
        working, ideal = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (photo, clean))
        for name, way in WAYS.items():
            rows[name].append(_figures(way(photo, working, ideal), photo, clean))
    return {
        name: dict(zip(COLUMNS, np.mean(values, axis=0).round(4).tolist(), strict=True))
        for name, values in rows.items()
    }


def _figures(made: Any, photo: Any, clean: Any) -> list[float]:
    error = np.abs(made.astype(np.float32) - clean)
    band = np.abs(_fine(clean))
    edges = cv2.dilate((band > np.quantile(band, 0.97)).astype(np.uint8), np.ones((9, 9))) > 0
    return [
        float(10 * np.log10(255**2 / np.mean(error**2))),
        float(_fine(made).std() / _fine(clean).std()),
        float(error[edges].mean()),
        float(error[~edges].mean()),
        lassim(made, photo),
        lassim(made, clean),
    ]


def _fine(image: Any) -> Any:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 1.0)


def _costs() -> dict[str, float]:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    working, enhanced = rng.integers(0, 256, (2, 312, 416, 3), dtype=np.uint8)
    change = fit_change(working, enhanced)
    candidates: dict[str, Callable[[], object]] = {
        name: (lambda way=way: way(photo, working, enhanced)) for name, way in WAYS.items()
    }
    candidates["shipped, without fit"] = lambda: apply_change(photo, *change)
    megapixels = photo.shape[0] * photo.shape[1] / 1e6
    costs = {
        name: round(timing(seconds).median_s * 1e3 / megapixels, 2)
        for name, seconds in take_turns(candidates, turns=5, calls=1, warm_up=1).items()
    }
    print("".join(f"{name:22}{cost:8.2f} ms per megapixel\n" for name, cost in costs.items()))
    return costs


def _rounded(image: Any) -> Any:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
