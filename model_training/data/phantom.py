"""Digital phantoms: mouth-open throats drawn from a seed, for samples, tests and variety in training.

A phantom is painted back to front (posterior wall, arches, tonsils, soft palate, uvula, tongue) as an albedo and a
height map; one headlight at the camera then shades it, wets it and overexposes it as a pharyngeal camera would.
No patient is in it and none can be recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_training.data.degradation import HELD_OUT, degrade
from service.errors import ImageDimensions

Field = NDArray[np.float32]
LEAST_SIDE_PX = 64


@dataclass(slots=True)
class Canvas:
    """The scene while it is painted: coordinates, colour, height, and light that reaches each pixel."""

    u: Field
    """(H, W) across, 0 in the middle, 1 at half the longer side."""
    v: Field
    """(H, W) down, same unit."""
    pixel: float
    """One pixel in units of u."""
    albedo: Field
    """(H, W, 3) linear colour of the tissue."""
    height: Field
    """(H, W) towards the camera, unit of u."""
    reach: Field
    """(H, W) share of the headlight that gets there."""
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class Palette:
    """Linear colours (3,) of one throat."""

    wall: Field
    arch: Field
    palate: Field
    tonsil: Field
    tongue: Field


def texture(shape: tuple[int, int], rng: np.random.Generator, period_px: float, octaves: int = 3) -> Field:
    """Smooth noise (H, W), zero mean, unit spread, whose largest grain is `period_px` wide."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grain = max(period_px / 2**octave, 1.0)
        cells = (max(2, round(width / grain)) + 3, max(2, round(height / grain)) + 3)
        noise = rng.standard_normal((cells[1], cells[0])).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.55**octave)
    total -= total.mean()
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)


def _soft(distance: Field, width: float) -> Field:
    """1 where `distance` (units of u, positive inside) is inside, 0 outside, an edge `width` wide between."""
    return np.asarray(np.clip(distance / width + 0.5, 0, 1), np.float32)


def _moved_down(field: Field, rows: int) -> Field:
    """`field` moved down by `rows`, its first row repeated."""
    return np.concatenate([np.repeat(field[:1], rows, 0), field[: field.shape[0] - rows]], 0)


def _ellipse(c: Canvas, cu: float, cv: float, ru: float, rv: float, power: float = 2.0) -> Field:
    """Distance-like map of a superellipse, positive inside."""
    q = (np.abs((c.u - cu) / ru) ** power + np.abs((c.v - cv) / rv) ** power) ** (1 / power)
    return np.asarray((1 - q) * min(ru, rv), np.float32)


def _paint(c: Canvas, distance: Field, colour: Field, relief: float, roundness: float, lift: float) -> Field:
    """Lays one organ over the canvas and returns its mask (H, W).

    Its edge rises over `roundness`, stands `relief` high, throws a soft shadow on what lies behind it, and catches
    `lift` times the light.
    """
    edge = float(c.rng.uniform(1.0, 2.2)) * c.pixel
    mask = _soft(distance, edge)
    blurred = cv2.GaussianBlur(mask, (0, 0), max(1.0, roundness * 0.5 / c.pixel))
    shadow = _moved_down(np.asarray(blurred, np.float32), round(0.02 / c.pixel))
    c.reach *= 1 - np.float32(c.rng.uniform(0.25, 0.6)) * shadow * (1 - mask)
    inside = np.clip(distance / np.float32(roundness), 0, 1)
    rise = np.sqrt(np.clip(1 - (1 - inside) ** 2, 0, 1))
    m = mask[..., None]
    c.albedo = c.albedo * (1 - m) + colour * _mottle(c) * m
    c.height = c.height * (1 - mask) + (c.height.max() * np.float32(0.3) + np.float32(relief) * rise) * mask
    c.reach = c.reach * (1 - mask) + np.float32(lift) * mask
    return mask


def _mottle(c: Canvas) -> Field:
    """Uneven blood under the surface (H, W, 3): where it is redder, green and blue lose more than red does."""
    shape = c.u.shape
    blood = 0.6 * texture(shape, c.rng, 0.35 / c.pixel, 3) + 0.4 * texture(shape, c.rng, 0.06 / c.pixel, 3)
    depth = np.float32(c.rng.uniform(0.03, 0.14))
    return np.asarray(1 - depth * blood[..., None] * np.array([0.35, 1.0, 0.9], np.float32), np.float32)


def _vessels(c: Canvas, mask: Field, count: int, strength: float) -> None:
    """Draws branching vessels as thin, soft, redder lines inside `mask`."""
    rng = c.rng
    height, width = mask.shape
    lines = np.zeros(mask.shape, np.float32)
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        heading = rng.uniform(0, 2 * np.pi)
        points = [(x, y)]
        for _ in range(int(rng.integers(8, 30))):
            heading += rng.normal(0, 0.35)
            step = 0.03 / c.pixel
            x, y = x + step * np.cos(heading), y + step * np.sin(heading)
            points.append((x, y))
        thickness = 1 if rng.random() < 0.75 else max(1, round(0.008 / c.pixel))
        path = np.rint(np.asarray(points) * 8).astype(np.int32)
        cv2.polylines(lines, [path], False, float(rng.uniform(0.4, 1)), thickness, cv2.LINE_AA, 3)
    lines = cv2.GaussianBlur(lines, (0, 0), max(0.5, float(rng.uniform(0.002, 0.005)) / c.pixel)) * mask
    tint = np.array([0.25, 0.75, 0.65], np.float32) * np.float32(strength)
    c.albedo *= 1 - lines[..., None] * tint


def _bumps(c: Canvas, mask: Field, period: float, depth: float) -> None:
    """Roughens the surface inside `mask`: grains `period` wide and `depth` high (units of u)."""
    grain = texture(mask.shape, c.rng, max(2.0, period / c.pixel), 2)
    c.height += np.float32(depth) * grain * mask


def _palette(rng: np.random.Generator) -> Palette:
    """Colours from pale pink to deep red, orange or purple, as lamps, cameras and throats differ."""
    redness = rng.uniform(0.25, 1.0)
    warmth = rng.uniform(-1, 1)
    base = np.array([0.78, 0.55 - 0.34 * redness, 0.52 - 0.32 * redness])
    base += warmth * np.array([0.0, 0.05, -0.07])

    def variant(brightness: float, spread: float) -> Field:
        return np.clip(base * brightness + rng.uniform(-spread, spread, 3), 0.02, 0.98).astype(np.float32)

    pale = np.array([0.75, 0.6, 0.58]) + rng.uniform(-0.06, 0.06, 3)
    coating = rng.uniform(0.1, 0.8)
    tongue = base * (1 - coating) + pale * coating
    return Palette(
        wall=variant(rng.uniform(0.55, 0.9), 0.03),
        arch=variant(rng.uniform(0.8, 1.0), 0.03),
        palate=variant(rng.uniform(0.95, 1.15), 0.03),
        tonsil=variant(rng.uniform(0.8, 1.05), 0.04),
        tongue=np.clip(tongue, 0.05, 0.98).astype(np.float32),
    )


def _canvas(width: int, height: int, rng: np.random.Generator) -> Canvas:
    """An empty scene seen from a slightly random viewpoint, its plane gently bent so that no two halves match."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixel = 2.0 / max(width, height)
    zoom, angle = rng.uniform(0.75, 1.2), rng.normal(0, 0.1)
    u0 = (x - width / 2) * pixel * zoom - rng.uniform(-0.12, 0.12)
    v0 = (y - height / 2) * pixel * zoom - rng.uniform(-0.1, 0.1)
    u = u0 * np.cos(angle) - v0 * np.sin(angle)
    v = u0 * np.sin(angle) + v0 * np.cos(angle)
    bend = 0.035 * max(width, height)
    shape = (height, width)
    u += texture(shape, rng, 6 * bend, 2) * np.float32(0.02)
    v += texture(shape, rng, 6 * bend, 2) * np.float32(0.02)
    flat = np.zeros(shape, np.float32)
    return Canvas(
        u=u.astype(np.float32),
        v=v.astype(np.float32),
        pixel=pixel * zoom,
        albedo=np.zeros((*shape, 3), np.float32),
        height=flat.copy(),
        reach=np.ones(shape, np.float32),
        rng=rng,
    )


def _posterior_wall(c: Canvas, palette: Palette) -> None:
    everywhere = np.ones_like(c.u)
    c.albedo = np.broadcast_to(palette.wall, c.albedo.shape).astype(np.float32)
    c.albedo *= 1 + 0.1 * texture(c.u.shape, c.rng, 0.12 / c.pixel)[..., None]
    c.reach[:] = c.rng.uniform(0.3, 0.65)
    c.height[:] = -0.25 * np.exp(-((c.u / 0.5) ** 2)) * 0.1
    _bumps(c, everywhere, 0.09, c.rng.uniform(0.001, 0.004))
    _vessels(c, everywhere, int(c.rng.integers(8, 30)), c.rng.uniform(0.2, 0.6))


def _arches_and_tonsils(c: Canvas, palette: Palette, opening: tuple[float, float, float]) -> None:
    """Posterior arches, then a tonsil on each side half hidden behind where the anterior arch will be."""
    mid, ru, rv = opening
    rng = c.rng
    inner = rng.uniform(0.62, 0.8)
    gap = -_ellipse(c, 0, mid + 0.1, ru * inner, rv * rng.uniform(0.75, 0.95), 2.2)
    _paint(c, gap, palette.arch, 0.08, 0.12, rng.uniform(0.55, 0.75))
    for side in (-1, 1):
        size = rng.uniform(0.5, 1.25)
        distance = _ellipse(
            c, side * ru * rng.uniform(0.8, 1.0), mid + rng.uniform(0.0, 0.12), 0.15 * size, 0.24 * size, 2.2
        )
        distance += 0.012 * texture(c.u.shape, rng, 0.12 / c.pixel, 2)
        mask = _paint(c, distance.astype(np.float32), palette.tonsil, 0.12, 0.12, rng.uniform(0.7, 0.95))
        _bumps(c, mask, 0.06, rng.uniform(0.003, 0.008))
        crypts = np.clip(texture(c.u.shape, rng, 0.05 / c.pixel, 1) - 1.6, 0, 1) * mask
        c.albedo *= 1 - np.float32(0.5) * np.clip(crypts, 0, 1)[..., None]
        _vessels(c, mask, int(rng.integers(3, 12)), 0.5)


def _palate_and_uvula(c: Canvas, palette: Palette, opening: tuple[float, float, float]) -> None:
    mid, ru, rv = opening
    rng = c.rng
    outside = -_ellipse(c, 0, mid, ru, rv, rng.uniform(2.0, 2.8))
    length, half = rng.uniform(0.2, 0.42), rng.uniform(0.05, 0.085)
    top, lean = mid - rv, rng.normal(0, 0.05)
    along = np.clip((c.v - top) / length, 0, 1)
    axis = lean * along
    width = half * (1.7 - 0.87 * along + 0.2 * np.sin(np.pi * along))
    stem = np.minimum(width - np.abs(c.u - axis), (top + length - c.v))
    tip = half - np.hypot(c.u - lean, c.v - (top + length - half * 0.5))
    uvula = np.maximum(np.where(c.v < top + length - 0.5 * half, stem, -1), tip)
    root = 0.35 * half
    joined = root * np.logaddexp(outside / root, uvula / root)
    mask = _paint(c, joined.astype(np.float32), palette.palate, 0.16, rng.uniform(0.1, 0.2), 1.0)
    fold = np.sin((np.hypot(c.u / ru, (c.v - mid) / rv) - 1.25) * rng.uniform(9, 16)).astype(np.float32)
    c.height += np.float32(rng.uniform(0.002, 0.008)) * fold * mask
    _bumps(c, mask, 0.05, rng.uniform(0.0008, 0.003))
    _vessels(c, mask, int(rng.integers(10, 45)), rng.uniform(0.2, 0.7))


def _tongue(c: Canvas, palette: Palette) -> None:
    rng = c.rng
    line = rng.uniform(0.22, 0.52) + rng.uniform(-0.1, 0.25) * c.u**2 - rng.uniform(-0.1, 0.12) * c.u
    distance = c.v - line + 0.01 * texture(c.u.shape, rng, 0.2 / c.pixel, 2)
    mask = _paint(c, distance.astype(np.float32), palette.tongue, 0.25, rng.uniform(0.2, 0.5), rng.uniform(1.0, 1.3))
    grain = rng.uniform(0.018, 0.035)
    _bumps(c, mask, grain, rng.uniform(0.001, 0.0035))
    papillae = np.clip(texture(c.u.shape, rng, max(2.0, grain / c.pixel), 1), -1, 2) * mask
    c.albedo *= 1 + np.float32(rng.uniform(0.02, 0.07)) * papillae[..., None]
    groove = np.exp(-(((c.u - rng.normal(0, 0.04)) / 0.05) ** 2)) * mask
    c.albedo *= 1 - np.float32(0.12) * groove[..., None].astype(np.float32)


def _shade(c: Canvas) -> Field:
    """Linear light (H, W, 3) from a headlight: diffuse falls with slope and distance, wet film sparkles."""
    rng = c.rng
    smooth = cv2.GaussianBlur(c.height, (0, 0), max(0.6, 0.004 / c.pixel))
    dy, dx = (1.3 * np.tanh(slope / 1.3) for slope in np.gradient(smooth, c.pixel))
    lean_u, lean_v = rng.normal(0, 0.15), rng.normal(-0.15, 0.15)
    slope = 1 / np.sqrt(1 + dx**2 + dy**2)
    diffuse = np.clip((1 - lean_u * dx - lean_v * dy) * slope, 0.05, 2)
    falloff = np.exp(-(c.u**2 + c.v**2) * rng.uniform(-0.15, 0.45))
    light = (0.25 + 0.75 * diffuse) * falloff * c.reach
    film = cv2.GaussianBlur(c.height, (0, 0), max(0.6, 0.006 / c.pixel))
    film = film + texture(c.u.shape, rng, 0.1 / c.pixel, 2) * np.float32(rng.uniform(0.001, 0.004))
    gy, gx = np.gradient(film, c.pixel)
    aim_u, aim_v = rng.normal(0, 0.12), rng.normal(0.1, 0.12)
    away = (gx - aim_u) ** 2 + (gy - aim_v) ** 2
    sharp = rng.uniform(250, 1500)
    wet = np.clip(texture(c.u.shape, rng, 0.3 / c.pixel, 2) * 0.6 + rng.uniform(-0.4, 0.5), 0, 1)
    sparkle = np.exp(-away * sharp) * wet * np.clip(c.reach, 0.2, 1) * rng.uniform(0.5, 3)
    return np.asarray(c.albedo * light[..., None] + sparkle[..., None], np.float32)


def _camera(linear: Field, c: Canvas) -> NDArray[np.uint8]:
    """Exposure, frame (none, dark corners, or the white ones of an overexposed lens ring) and the sRGB-like curve."""
    rng = c.rng
    height, width = linear.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    edge = np.hypot((x / width - 0.5), (y / height - 0.5) * rng.uniform(0.8, 1.0)) * np.sqrt(2)
    exposed = linear * np.float32(rng.uniform(0.75, 1.7))
    frame = rng.random()
    ring = np.clip((edge - rng.uniform(0.62, 0.85)) / rng.uniform(0.08, 0.25), 0, 1)[..., None]
    ring = ring * ring * (3 - 2 * ring)
    if frame < 0.4:
        glow = np.array([1.0, rng.uniform(0.93, 1.0), rng.uniform(0.95, 1.0)], np.float32)
        exposed = exposed * (1 - ring) + glow * ring
    elif frame < 0.7:
        exposed = exposed * (1 - ring * np.float32(rng.uniform(0.4, 1.0)))
    rolled = np.where(exposed < 0.7, exposed, 0.7 + 0.3 * np.tanh((exposed - 0.7) / 0.3))
    stored = np.power(np.clip(rolled, 0, 1), np.float32(1 / rng.uniform(1.9, 2.4)))
    stored += rng.standard_normal(stored.shape, np.float32) * np.float32(0.003)
    pixels: NDArray[np.uint8] = np.clip(np.rint(stored * 255), 0, 255).astype(np.uint8)
    return pixels


def phantom(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """A believable photo of an open mouth's throat, always the same for the same arguments.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageDimensions: a side is under 64 px.
    """
    if min(width, height) < LEAST_SIDE_PX:
        raise ImageDimensions(f"a phantom of {width}x{height} is too small; each side must be at least {LEAST_SIDE_PX}")
    rng = np.random.default_rng([int(seed), 0x9A117])
    c = _canvas(width, height, rng)
    palette = _palette(rng)
    opening = (rng.uniform(0.1, 0.28), rng.uniform(0.5, 0.8), rng.uniform(0.42, 0.6))
    _posterior_wall(c, palette)
    _arches_and_tonsils(c, palette, opening)
    _palate_and_uvula(c, palette, opening)
    _tongue(c, palette)
    return _camera(_shade(c), c)


def write_phantoms(
    out: Path,
    count: int,
    size: tuple[int, int],
    seed: int,
    *,
    draw: Callable[[int, int, int], NDArray[np.uint8]] = phantom,
    pairs: bool = False,
    start: Callable[[int], Callable[[], None]] = lambda steps: lambda: None,
) -> int:
    """Writes `count` phantoms (or what `draw` draws) of `size` (width, height) as PNG; with `pairs` degraded ones too.

    Pictures are named `phantom-SEED.png`, or `good/SEED.png` and `bad/SEED.png`; returns how many were written.

    Raises:
        ImageDimensions: a side is under 64 px.
    """
    advance = start(count)
    written = 0
    for index in range(seed, seed + count):
        good = draw(*size, index)
        names = {f"phantom-{index:04d}.png": good}
        if pairs:
            names = {f"good/{index:04d}.png": good, f"bad/{index:04d}.png": degrade(good, index, recipe=HELD_OUT)}
        for name, picture in names.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(out / name)
            written += 1
        advance()
    return written
