"""Mutated DICOM files: each is refused in our own words or enhanced, and nothing else happens."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import uid

from service.dicom.conversion import DicomEnhancer
from service.dicom.frames import frames_of
from service.dicom.source import read_source
from service.engine.engine import EngineOptions
from service.errors import LameganError
from service.pipeline import Enhancer
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel
from tests import dicom_files as objects
from tests import models
from tests.live import scene

MUTATIONS = int(os.environ.get("LAMEGAN_TEST_MUTATIONS", "400"))
"""CI's number keeps the test short; 2,000 is the acceptance run."""

WHOLE_WAY = 25
"""Of those that can be decoded, how many go the whole way through model and report."""


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


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DicomEnhancer]:
    folder: Path = tmp_path_factory.mktemp("models")
    models.install(folder, models.identity())
    with SingleModel(ModelStore(folder, None), "tiny", EngineOptions("cpu", False, 1), as_default=True) as one:
        yield DicomEnhancer(Enhancer(one))


def test_mutated_objects_are_refused_or_enhanced_and_nothing_else(enhancer: DicomEnhancer) -> None:
    rng, bodies, whole = random.Random(2026), seeds(), 0
    refused, details = set(), set()
    for number in range(MUTATIONS):
        body = mutated(rng, bodies[number % len(bodies)])
        try:
            source = read_source(body, max_pixels=1_000_000)
            for frame in frames_of(source):
                assert frame.shape == (source.height, source.width, 3)
            if whole < WHOLE_WAY:
                whole += 1
                enhancer.enhance(body)
        except LameganError as error:
            refused.add(error.code)
            details.add(error.detail)
    assert whole == WHOLE_WAY
    assert not [detail for detail in details if objects.SENTINEL in detail]
    assert {"undecodable-image", "unsupported-type"} <= refused
