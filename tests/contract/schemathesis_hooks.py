"""What schemathesis cannot know: a schema says that bytes are an image, not which bytes are one."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from tests import dicom_files as objects_of
from tests.live import encoded, scene

SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/tiff": ".tiff",
    "image/bmp": ".bmp",
    "application/octet-stream": ".png",
}

for media, suffix in SUFFIXES.items():
    images = [encoded(scene(*size), suffix) for size in ((96, 80), (64, 128))]
    schemathesis.openapi.media_type(media, st.sampled_from(images))
objects = [objects_of.as_file(objects_of.endoscopic(seed)) for seed in (1, 2)]
schemathesis.openapi.media_type("application/dicom", st.sampled_from(objects))
schemathesis.openapi.format("binary", st.just(encoded(scene(96, 80))))
