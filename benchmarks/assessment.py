"""How often the assessment of photos is right: of clean ones, and of the same degraded beyond use.

`python -m benchmarks.assessment ../shared` prints the rates and writes benchmarks/results/assessment.json. Patients,
and photos by turns, are split: the limits were set on photos of `calibration`, and those of `held_out` are others.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from service.quality.assessment import Assessment, Fitness, assess
from service.quality.lassim import to_canonical

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
OUT = Path(__file__).parent / "results" / "assessment.json"

REASONS = {
    "blur": "sharpness",
    "motion": "sharpness",
    "noise": "noise",
    "haze": "haze",
    "dark": "exposure",
    "bright": "exposure",
    "glare": "glare",
    "surround": "content_area",
}
"""What each fault must be told as."""


def faults(photo: Plane, random: np.random.Generator) -> dict[str, Plane]:
    """`photo`, (H, W, 3) float32 of 0 to 255 with a longer side of 480, with one fault each, beyond use."""
    height, width = photo.shape[:2]
    u = random.uniform
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot((columns - u(0.3, 0.7) * width) / width, (rows - u(0.3, 0.7) * height) / height)
    spot = 1 / (1 + np.exp((away - u(0.33, 0.45)) / 0.03))
    veil = u(0.75, 0.9)
    return {
        "blur": np.asarray(cv2.GaussianBlur(photo, (0, 0), u(4.5, 8))),
        "motion": np.asarray(
            cv2.filter2D(photo, -1, _line(int(u(25, 45)), u(0, np.pi)), borderType=cv2.BORDER_REFLECT)
        ),
        "noise": photo + random.normal(0, u(40, 70), photo.shape),
        "haze": photo * (1 - veil) + veil * u(170, 230),
        "dark": photo * u(0.03, 0.1),
        "bright": photo * u(4, 8) + u(60, 100),
        "glare": photo + 400 * spot[..., None],
        "surround": _surrounded(photo, u(0.2, 0.36), (u(0.1, 0.5), u(0.1, 0.5))),
    }


def _line(length: int, angle: float) -> Plane:
    side = length | 1
    kernel, middle = np.zeros((side, side), np.float32), side // 2
    across, down = middle * np.cos(angle), middle * np.sin(angle)
    ends = [(round(middle + sign * across), round(middle + sign * down)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return kernel / kernel.sum()


def _surrounded(photo: Plane, scale: float, place: tuple[float, float]) -> Plane:
    height, width = photo.shape[:2]
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    made = np.zeros_like(photo)
    top, left = int(place[0] * (height - small.shape[0])), int(place[1] * (width - small.shape[1]))
    made[top : top + small.shape[0], left : left + small.shape[1]] = small
    return made


def photos(shared: Path, held_out: bool, most: int) -> Iterator[tuple[str, Image]]:
    """Clean photos by kind, at most `most` of each."""
    data = shared / "data"
    patient = "patient2" if held_out else "patient1"
    kinds = {
        "larynx": sorted((data / "larynx" / patient).glob("seq*/*.webp")),
        "mucosa": sorted((data / "mucosa").glob("*.*p*g"))[held_out::2],
        "natural": sorted((data / "natural").glob("*/*.webp"))[held_out::2],
    }
    for kind, files in kinds.items():
        for path in Random(16).sample(files, min(most, len(files))):
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            yield kind, to_canonical(np.asarray(image[8:-8, 8:-8] if kind == "mucosa" else image, np.uint8))


def rates(shared: Path, held_out: bool, most: int) -> dict[str, object]:
    """Shares of clean photos to be retaken, of degraded ones, and of those whose reason is right."""
    random = np.random.default_rng(16 + held_out)
    clean, degraded, right = Counter[str](), Counter[str](), Counter[str]()
    seen, told = Counter[str](), Counter[str]()
    for kind, photo in photos(shared, held_out, most):
        seen[kind] += 1
        found = _assessed(photo)
        clean[kind] += found.verdict is Fitness.RETAKE
        told.update(f"{kind} {reason}" for reason in found.reasons if found.verdict is Fitness.RETAKE)
        for fault, made in faults(photo.astype(np.float32), random).items():
            found = _assessed(np.clip(np.rint(made), 0, 255).astype(np.uint8))
            degraded[fault] += found.verdict is Fitness.RETAKE
            right[fault] += found.verdict is Fitness.RETAKE and REASONS[fault] in found.reasons
            told.update(f"{fault} {reason}" for reason in found.reasons if found.verdict is Fitness.RETAKE)
    count = sum(seen.values())
    return {
        "photos": count,
        "clean_retake": round(sum(clean.values()) / count, 4),
        "clean_retake_by_kind": {kind: round(clean[kind] / seen[kind], 4) for kind in seen},
        "degraded_retake": round(sum(degraded.values()) / count / len(REASONS), 4),
        "degraded_retake_by_fault": {fault: round(degraded[fault] / count, 4) for fault in REASONS},
        "reason_right_by_fault": {fault: round(right[fault] / count, 4) for fault in REASONS},
        "told": dict(sorted(told.items())),
    }


def _assessed(photo: Image) -> Assessment:
    return assess(photo, 1920, 1080)


def main(shared: str, most: str = "60", write: Callable[[str], object] = sys.stdout.write) -> None:
    """Print and keep the rates of both halves."""
    cv2.setNumThreads(1)
    result = {name: rates(Path(shared), held, int(most)) for name, held in (("calibration", False), ("held_out", True))}
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
