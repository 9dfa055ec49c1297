"""Mutated files of every format that is read, the same for the same seed.

`python -m tests.fuzz 10000` decodes so many of each format and says what became of them; a test runs a small share.
What counts as a failure: any error but a refusal (`BadRequest`), a picture of a wrong shape, the end of the process,
or a sound file that is no longer shown afterwards. The figures of 10,000 each are in docs/evaluation.md.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np

from service.errors import BadRequest
from service.imaging.codecs import decode
from tests.hostile import good_files, photo_pixels, saved

CASES = Path(__file__).parent / "data" / "cases"
MAX_PIXELS = 1_000_000
_NOTABLE = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xd9",
)


def seeds() -> dict[str, list[bytes]]:
    """Sound files of each format to mutate."""
    files = {name: [body] for name, body in good_files().items()}
    files["gif"] = [saved(photo_pixels()[..., 0], "GIF"), (CASES / "gif.gif").read_bytes()]
    files["jpeg"] += [saved(photo_pixels(), "JPEG", progressive=True), (CASES / "dnl-height-0.jpg").read_bytes()]
    files["jpeg"] += [(CASES / "samsung-panorama-no-eoi-trailer.jpg").read_bytes()]
    files["png"] += [(CASES / name).read_bytes() for name in ("exif-6-raw-profile-ztxt.png", "cicp-p3.png")]
    files["tiff"] += [
        (CASES / name).read_bytes() for name in ("tiff-thumbnail-first.tif", "cielab.tif", "webp-tiff.tif")
    ]
    files["bmp"] += [(CASES / name).read_bytes() for name in ("rle8.bmp", "v5-bitfields-alpha0.bmp")]
    files["heic"] = [(CASES / "iphone.heic").read_bytes()]
    files["avif"] = [(CASES / "android.avif").read_bytes(), saved(photo_pixels(), "AVIF", speed=10)]
    files["jxl"] = [(CASES / "photo.jxl").read_bytes()]
    files["jpeg12"] = [(CASES / "twelve-bit.jpg").read_bytes()]
    return files


def mutated(body: bytes, random: Random) -> bytes:
    """`body` with some bytes changed, most of them near its beginning, or cut, doubled or left out in places."""
    changed = bytearray(body)
    for _ in range(random.randint(1, 8)):
        reach = len(changed) if random.random() < 0.4 else min(len(changed), 700)
        at = random.randrange(max(1, reach))
        how = random.random()
        if how < 0.4:
            changed[at : at + 1] = bytes((random.randrange(256),))
        elif how < 0.7:
            value = random.choice(_NOTABLE)
            changed[at : at + len(value)] = value
        elif how < 0.8:
            changed = changed[: random.randrange(1, len(changed) + 1)]
        elif how < 0.9:
            del changed[at : at + random.randint(1, 64)]
        else:
            changed[at:at] = changed[at : at + random.randint(1, 64)]
        if not changed:
            return b"\0"
    return bytes(changed)


def mutations(name: str, count: int, seed: int = 16) -> Iterator[bytes]:
    """`count` mutated files of format `name`."""
    random = Random(f"{name} {seed}")
    files = seeds()[name]
    for index in range(count):
        yield mutated(files[index % len(files)], random)


def outcome(body: bytes) -> str:
    """What became of one file: `shown`, or the code of its refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = decode(body, max_pixels=MAX_PIXELS).pixels
        except BadRequest as error:
            return error.code
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.size <= 3 * MAX_PIXELS
    return "shown"


def main(count: int, names: list[str]) -> None:
    """Decode `count` mutated files of each format, or of those named."""
    for name in names or list(seeds()):
        started = time.monotonic()
        slowest, outcomes = 0.0, Counter[str]()
        for body in mutations(name, count):
            began = time.monotonic()
            outcomes[outcome(body)] += 1
            slowest = max(slowest, time.monotonic() - began)
        took = time.monotonic() - started
        assert outcome(seeds()[name][0]) == "shown", f"{name}: nothing is shown any more"
        sys.stdout.write(f"{name}: {count} in {took:.0f} s, slowest {slowest:.2f} s, {dict(outcomes)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
