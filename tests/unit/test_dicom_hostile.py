"""Mutated DICOM files: each is refused in our own words or enhanced, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.dicom.conversion import DicomEnhancer
from service.dicom.frames import frames_of
from service.dicom.source import read_source
from service.engine.engine import EngineOptions
from service.errors import LameganError, UndecodableImage
from service.pipeline import Enhancer
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel
from tests import dicom_files as objects
from tests import models
from tests.mutated_dicom import ALL_MUTATIONS, mutations


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DicomEnhancer]:
    folder: Path = tmp_path_factory.mktemp("models")
    models.install(folder, models.identity())
    with SingleModel(ModelStore(folder, None), "tiny", EngineOptions("cpu", False, 1), as_default=True) as one:
        yield DicomEnhancer(Enhancer(one))


def test_mutated_objects_are_refused_or_enhanced_and_nothing_else(enhancer: DicomEnhancer) -> None:
    whole = 0
    refused, details = set(), set()
    for body in mutations(ALL_MUTATIONS):
        try:
            source = read_source(body, max_pixels=1_000_000)
            for frame in frames_of(source):
                assert frame.shape == (source.height, source.width, 3)
            enhancer.enhance(body)
            whole += 1
        except LameganError as error:
            refused.add(error.code)
            details.add(error.detail)
    assert whole > 50  # went the whole way through model and report
    assert not [detail for detail in details if objects.SENTINEL in detail]
    assert {"undecodable-image", "unsupported-type"} <= refused


def test_an_attribute_of_an_unknown_value_representation_is_refused(enhancer: DicomEnhancer) -> None:
    manufacturer = b"\x08\x00\x70\x00LO"
    body = objects.as_file(objects.endoscopic())
    assert manufacturer in body
    with pytest.raises(UndecodableImage):
        enhancer.enhance(body.replace(manufacturer, b"\x08\x00\x70\x00L\xf8"))
