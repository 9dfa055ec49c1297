"""A DICOM image in, the derived image and its report out: the Enhancer's way for each frame of an object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO

import pydicom

from service.dicom.answer import DicomAnswer
from service.dicom.derived import derived_image
from service.dicom.frames import frames_of
from service.dicom.identity import Making, is_own_output
from service.dicom.report import ReportFacts, report
from service.dicom.source import SourceObject, read_source
from service.errors import UndecodableImage, UnsupportedType
from service.imaging.codecs import encode
from service.pipeline import Deadline, Enhancement, EnhanceOptions, Enhancer
from service.pixels import Pixels
from service.quality.guardrail import Verdict

_BY_SEVERITY = (Verdict.PASS, Verdict.CONSTRAINED, Verdict.WITHHELD)


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames of one object, enhanced: what is kept of each is its Enhancement."""

    made: list[Enhancement]

    @property
    def worst(self) -> Enhancement:
        """The frame of the strictest verdict, of these the one with the lowest LaSSIM."""
        return max(self.made, key=lambda one: (_BY_SEVERITY.index(one.judgement.verdict), -one.judgement.lassim))


class DicomEnhancer:
    """Enhances DICOM objects; safe to call from any number of threads."""

    def __init__(self, enhancer: Enhancer) -> None:
        self._enhancer = enhancer

    def enhance(
        self,
        body: bytes,
        options: EnhanceOptions | None = None,
        deadline: Deadline | None = None,
        made_at: datetime | None = None,
    ) -> DicomAnswer:
        """The derived image of the object in `body`, unless it is withheld, and the report about it.

        Args:
            body: a DICOM file.
            options: model and policy; `format`, `quality` and `map` are not used.
            deadline: for all frames together.
            made_at: Content Date and Time of the report; None: now.

        Raises:
            MissingImage, UnsupportedType, ImageDimensions, UndecodableImage: see `read_source`; this software's own
                output is an unsupported type.
            LameganError: see `Enhancer.enhance`.
        """
        options = options or EnhanceOptions()
        source = read_source(body, max_pixels=self._enhancer.defaults.max_pixels)
        try:
            if is_own_output(source.dataset):
                raise UnsupportedType("The object was made by this software already; it is not enhanced twice.")
            frames = self._frames(source, options, deadline or Deadline())
            return self._answer(source, frames, options, made_at or datetime.now(UTC))
        except NotImplementedError as error:  # pydicom, of an attribute whose value representation is not known
            raise UndecodableImage("An attribute of the object has an unknown value representation.") from error

    def render(self, body: bytes, options: EnhanceOptions, deadline: Deadline | None = None) -> Enhancement:
        """The first frame of the object in `body`, enhanced, as a photo in `options.format`.

        Raises:
            LameganError: as `enhance`.
        """
        source = read_source(body, max_pixels=self._enhancer.defaults.max_pixels)
        frame = next(iter(frames_of(source)))
        return self._enhancer.enhance(encode(frame, "bmp"), replace(options, declared_type="image/bmp"), deadline)

    def _frames(self, source: SourceObject, options: EnhanceOptions, deadline: Deadline) -> _Frames:
        asked = EnhanceOptions(declared_type="image/bmp", policy=options.policy, model=options.model)
        return _Frames([self._enhancer.enhance(encode(frame, "bmp"), asked, deadline) for frame in frames_of(source)])

    def _answer(self, source: SourceObject, frames: _Frames, options: EnhanceOptions, made_at: datetime) -> DicomAnswer:
        worst = frames.worst
        verdict = worst.judgement.verdict
        policy = (options.policy or self._enhancer.defaults.policy).value
        making = Making(worst.model, worst.model_sha256, policy)
        image = None
        if verdict is not Verdict.WITHHELD:
            pixels: list[Pixels] = [one.judgement.image for one in frames.made]
            image = derived_image(source, pixels, making, _description(worst, making))
        facts = ReportFacts(
            making=making,
            judgements=[one.judgement for one in frames.made],
            floors=worst.floors,
            verdict=verdict.value,
            image=pydicom.dcmread(BytesIO(image), stop_before_pixels=True) if image else None,
            made_at=made_at,
        )
        return DicomAnswer(image=image, report=report(source, facts), worst=worst, frames=source.frames)


def _description(worst: Enhancement, making: Making) -> str:
    """Derivation Description (ST): what made it and how faithful it is, in one line."""
    judgement = worst.judgement
    blended = f", {judgement.blend:.0%} of the source blended in" if judgement.blend > 0 else ""
    return (
        f"Enhanced for research only by LaMEGAN {making.model} (sha256 {making.model_sha256}), "
        f"LaSSIM {judgement.lassim:.4f}, lowest region {judgement.worst:.4f}, "
        f"verdict {judgement.verdict.value}{blended}, policy {making.policy}"
    )
