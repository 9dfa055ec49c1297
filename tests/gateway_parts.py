"""Parts of a gateway for tests that are not about the model."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

from service.dicom.derived import write
from service.dicom.identity import Making
from service.dicom.source import read_source


class EchoEnhancer:
    """Stands in for `DicomEnhancer`: image and report are small objects with UIDs derived as the real ones are."""

    def enhance(self, body: bytes, options: Any = None, patience: Any = None, made_at: datetime | None = None) -> Any:
        source = read_source(body, max_pixels=10**6)
        making = Making("tiny/1.0.0", "0" * 64, "constrain")
        made = []
        for kind in ("image", "report"):
            copy = read_source(body, max_pixels=10**6).dataset
            copy.SOPInstanceUID = making.uid(kind, source.sop_instance)
            copy.ContentDate = "20260102"
            made.append(write(copy))
        judgement = SimpleNamespace(lassim=1.0, verdict=SimpleNamespace(value="pass"))
        worst = SimpleNamespace(judgement=judgement, model="tiny/1.0.0", model_sha256="0" * 64)
        return SimpleNamespace(image=made[0], report=made[1], worst=worst, frames=1)

    def render(self, body: bytes, options: Any, patience: Any = None) -> Any:
        raise NotImplementedError
