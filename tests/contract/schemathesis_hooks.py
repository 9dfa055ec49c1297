"""What schemathesis cannot know: which bytes are an image, and which options go together."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests import dicom_files as objects_of
from tests.hostile import case as stored
from tests.live import encoded, scene

SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/tiff": ".tiff",
    "image/bmp": ".bmp",
    "application/octet-stream": ".png",
}
STORED = {"image/gif": "gif.gif", "image/heic": "iphone.heic", "image/avif": "android.avif", "image/jxl": "photo.jxl"}

for media, suffix in SUFFIXES.items():
    images = [encoded(scene(*size), suffix) for size in ((96, 80), (64, 128))]
    schemathesis.openapi.media_type(media, st.sampled_from(images))
objects = [objects_of.as_file(objects_of.endoscopic(seed)) for seed in (1, 2)]
schemathesis.openapi.media_type("application/dicom", st.sampled_from(objects))
for media, name in STORED.items():
    schemathesis.openapi.media_type(media, st.just(stored(name)))
schemathesis.openapi.format("binary", st.just(encoded(scene(96, 80))))


@schemathesis.hook
def before_call(_context: Any, case: Any, _arguments: dict[str, Any]) -> None:
    """An option that would be ignored is an error: the quality is of JPEG and WebP, the map of a JSON response.

    Options are taken away and no header is added: a case whose headers are changed forgets which one it leaves out.
    """
    query = case.query or {}
    if str(query.get("quality", "")).isdecimal() and query.get("format") not in ("jpeg", "webp"):
        query.pop("quality")
    if query.get("map") in (True, "true") and case.path == "/enhance":
        query.pop("map")
