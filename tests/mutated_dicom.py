"""Seeded mutations of small DICOM objects of every kind of encoding, the same for every door they are sent through."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from pydicom import uid

from tests import dicom_files as objects
from tests.live import scene

SEED = 2026

ALL_MUTATIONS = 2000
"""The acceptance run, by LAMEGAN_TEST_MUTATIONS; CI's numbers keep the tests short."""


def how_many(in_ci: int) -> int:
    """LAMEGAN_TEST_MUTATIONS, else `in_ci`."""
    return int(os.environ.get("LAMEGAN_TEST_MUTATIONS", in_ci))


def seeds() -> list[bytes]:
    """Small objects of every kind of encoding."""
    small = scene(64, 48, 3)
    made = [
        objects.as_file(objects.endoscopic(pixels=small)),
        objects.as_file(
            objects.named(objects.photographic(pixels=small), objects.JAPANESE), uid.ImplicitVRLittleEndian
        ),
        objects.as_file(objects.in_palette(objects.photographic(pixels=small))),
        objects.as_file(objects.grey(12)),
        objects.as_file(objects.multi_frame(2)),
    ]
    return made + [objects.compressed(objects.photographic(pixels=small), syntax) for syntax in objects.COMPRESSED]


def mutated(rng: random.Random, body: bytes) -> bytes:
    """One of: bytes changed, mostly in the header; cut off; a piece doubled; a piece removed; a length made huge."""
    changed = bytearray(body)
    kind = rng.randrange(5)
    front = min(len(changed) - 1, 1500)
    if kind == 0:
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(132, front) if rng.random() < 0.8 else rng.randrange(len(changed))
            changed[at] = rng.randrange(256)
    elif kind == 1:
        del changed[rng.randrange(len(changed)) :]
    elif kind == 2:
        at = rng.randrange(132, front)
        changed[at:at] = changed[at : at + rng.randint(1, 64)]
    elif kind == 3:
        at = rng.randrange(132, front)
        del changed[at : at + rng.randint(1, 32)]
    else:
        at = rng.randrange(132, front)
        changed[at : at + 4] = b"\xff\xff\xff" + bytes([rng.randrange(256)])
    return bytes(changed)


def mutations(count: int) -> Iterator[bytes]:
    """`count` mutated objects, always the same."""
    rng, bodies = random.Random(SEED), seeds()
    for number in range(count):
        yield mutated(rng, bodies[number % len(bodies)])
