"""Every error the product raises on purpose, and what each means on the wire.

    LameganError
    ├── BadRequest                     the caller can mend it
    │   ├── MissingImage               missing-image
    │   ├── Unauthorized               unauthorized
    │   ├── BodyTooLarge               body-too-large
    │   ├── BodyTimeout                body-timeout
    │   ├── UnsupportedType            unsupported-type
    │   ├── UndecodableImage           undecodable-image
    │   ├── ImageDimensions            image-dimensions
    │   │   └── LevelUnavailable       level-unavailable
    │   ├── UnknownModel               unknown-model
    │   ├── InvalidParameter           invalid-parameter
    │   ├── NotFound                   not-found
    │   └── MethodNotAllowed           method-not-allowed
    ├── Busy                           the caller may come back
    │   ├── Overloaded                 overloaded
    │   ├── RateLimited                rate-limited
    │   ├── DeadlineExceeded           deadline-exceeded
    │   ├── ClientGone                 client-gone
    │   └── ShuttingDown               shutting-down
    ├── Fault                          ours to mend
    │   ├── InferenceFailed            inference-failed
    │   ├── NotReady                   not-ready
    │   ├── AuditUnavailable           audit-unavailable
    │   └── InternalError              internal-error
    ├── ModelError                     a model that cannot be served
    │   ├── ModelInvalid               model-invalid
    │   ├── ModelCorrupt               model-corrupt
    │   ├── ModelUntrusted             model-untrusted
    │   ├── SelfTestFailed             self-test-failed
    │   └── ProviderUnavailable        provider-unavailable
    ├── ConfigurationError             configuration
    ├── CommandError                   command
    └── TrainingError                  training
        ├── DataError                  training-data
        ├── CheckpointError            checkpoint
        ├── Diverged                   diverged
        └── ExportError                export

Each class states its `code`, HTTP status, title and time to retry; everything else that needs them takes them from the
class. Details are written for people and never hold a path a client did not give, a file name, or image content.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

PROBLEM_TYPE_PREFIX = "tag:lamegan,2026:problem:"
"""Prefix of the `type` URI of every problem document (RFC 9457 section 3.1.1; a tag URI needs no server)."""

_UNSAID = "input/output error"
"""What an operating system's error is called that gives no words of its own."""


class LameganError(Exception):
    """Base of all errors raised on purpose; `detail` is one plain sentence, `facts` are machine-readable.

    Attributes:
        code: stable identifier on the wire.
        status: HTTP status of a response that tells of it.
        title: what it is called in a problem document (RFC 9457).
        retry_after_s: what a client is told to wait where nothing was measured; None: nothing is said.
        detail: one sentence for a person.
        facts: JSON-serialisable values such as `limit`, `actual`, `retry_after_s`.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"
    retry_after_s: ClassVar[int | None] = None

    def __init_subclass__(cls, *, code: str, status: int, title: str, retry_after_s: int | None = None) -> None:
        """Every error states what it is on the wire; nothing is inherited."""
        super().__init_subclass__()
        cls.code, cls.status, cls.title, cls.retry_after_s = code, status, title, retry_after_s

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class BadRequest(LameganError, code="bad-request", status=400, title="Bad request"):
    """Something in the request is wrong; the caller can mend it."""


class MissingImage(BadRequest, code="missing-image", status=400, title="No image in the request"):
    """No file, or an empty body."""


class Unauthorized(BadRequest, code="unauthorized", status=401, title="A valid key is needed"):
    """The key is absent, wrong or revoked."""


class BodyTooLarge(BadRequest, code="body-too-large", status=413, title="The body is too large"):
    """More bytes than the limit, declared or streamed."""


class BodyTimeout(BadRequest, code="body-timeout", status=408, title="The body came in too slowly"):
    """The body came in too slowly."""


class UnsupportedType(BadRequest, code="unsupported-type", status=415, title="This type is not supported"):
    """A type that is not served, or bytes of another type than declared."""


class UndecodableImage(BadRequest, code="undecodable-image", status=422, title="The image cannot be decoded"):
    """Truncated, damaged or zero-sized."""


class ImageDimensions(BadRequest, code="image-dimensions", status=422, title="The image's size is outside the limits"):
    """Too many pixels, too few to score, or two images of different sizes."""


class LevelUnavailable(
    ImageDimensions, code="level-unavailable", status=422, title="The image is too small for this level"
):
    """The image is too small for the pyramid level asked for."""


class UnknownModel(BadRequest, code="unknown-model", status=404, title="No such model"):
    """No such model or version."""


class InvalidParameter(BadRequest, code="invalid-parameter", status=422, title="An option is outside its values"):
    """An option outside its values."""


class NotFound(BadRequest, code="not-found", status=404, title="No such route"):
    """No such route."""


class MethodNotAllowed(BadRequest, code="method-not-allowed", status=405, title="This route does not take this method"):
    """The route does not take this method."""


class Busy(LameganError, code="busy", status=503, title="Not now", retry_after_s=1):
    """Not now; the caller may come back."""


class Overloaded(Busy, code="overloaded", status=429, title="The service is overloaded", retry_after_s=1):
    """The queue is full, or the wait would pass the deadline. Facts: `retry_after_s`."""


class RateLimited(Busy, code="rate-limited", status=429, title="This key has used its rate", retry_after_s=1):
    """This key has used its rate. Facts: `retry_after_s`."""


class DeadlineExceeded(Busy, code="deadline-exceeded", status=504, title="Not finished in time"):
    """Accepted, but not finished in time; the work was dropped."""


class ClientGone(Busy, code="client-gone", status=499, title="The client hung up"):
    """The client hung up; nobody reads the response."""


class ShuttingDown(Busy, code="shutting-down", status=503, title="The service is shutting down", retry_after_s=5):
    """The service is stopping and takes no new work."""


class Fault(LameganError, code="fault", status=500, title="A fault of the service"):
    """Ours to mend."""


class InferenceFailed(Fault, code="inference-failed", status=500, title="The model failed on this image"):
    """The model failed on this image; the next request still works."""


class NotReady(Fault, code="not-ready", status=503, title="The service is not ready", retry_after_s=1):
    """Not ready yet, or no longer."""


class AuditUnavailable(
    Fault, code="audit-unavailable", status=503, title="The audit log cannot be written", retry_after_s=30
):
    """The audit log cannot be written, and no photo may be answered without a line in it."""


class InternalError(Fault, code="internal-error", status=500, title="Internal error"):
    """Something nobody foresaw; the log has it under the request id."""


class ModelError(LameganError, code="model-error", status=500, title="The model cannot be served"):
    """A model that cannot be served."""


class ModelInvalid(ModelError, code="model-invalid", status=500, title="The model breaks its contract"):
    """The card or the file breaks the export contract."""


class ModelCorrupt(ModelError, code="model-corrupt", status=500, title="The model file is corrupt"):
    """The file's digest is not the card's."""


class ModelUntrusted(ModelError, code="model-untrusted", status=500, title="The model is not signed by a trusted key"):
    """Only signed models may serve, and no trusted key signed this one as it is."""


class SelfTestFailed(ModelError, code="self-test-failed", status=500, title="The model failed its self-test"):
    """The golden self-test gave other pixels than the card's."""


class ProviderUnavailable(ModelError, code="provider-unavailable", status=500, title="The asked-for device is absent"):
    """A GPU was asked for and none can be used."""


class ConfigurationError(LameganError, code="configuration", status=500, title="The configuration is wrong"):
    """The settings contradict each other or the machine."""


class CommandError(LameganError, code="command", status=500, title="The command cannot be done"):
    """A command line asks for something that cannot be done."""

    @classmethod
    def unreadable(cls, path: Path, error: OSError) -> Self:
        """The file or folder at `path` cannot be read, for the reason of `error`."""
        return cls(f"{path} cannot be read: {error.strerror or _UNSAID}.")

    @classmethod
    def unmakable(cls, path: Path, error: OSError) -> Self:
        """The folder at `path` cannot be made, for the reason of `error`."""
        return cls(f"{path} cannot be made: {error.strerror or _UNSAID}.")

    @classmethod
    def unwritable(cls, path: Path, error: OSError) -> Self:
        """The file at `path` cannot be written, for the reason of `error`."""
        return cls(f"{path} cannot be written: {error.strerror or _UNSAID}.")


class TrainingError(LameganError, code="training", status=500, title="Training failed"):
    """Training cannot start or go on."""


class DataError(TrainingError, code="training-data", status=500, title="The training data cannot be used"):
    """The training or evaluation data cannot be used."""


class CheckpointError(TrainingError, code="checkpoint", status=500, title="The checkpoint cannot be used"):
    """A checkpoint cannot be written, read or resumed from."""


class Diverged(TrainingError, code="diverged", status=500, title="Training diverged"):
    """A loss is not finite, or one side of the game has won for good."""


class ExportError(TrainingError, code="export", status=500, title="The export breaks its contract"):
    """The exported file breaks the export contract."""


def every_error(base: type[LameganError] = LameganError) -> list[type[LameganError]]:
    """`base` and all its subclasses, depth first in order of definition."""
    return [base] + [error for child in base.__subclasses__() for error in every_error(child)]


HTTP_STATUS: dict[str, tuple[int, str]] = {error.code: (error.status, error.title) for error in every_error()}
"""HTTP status and title of every error code."""
