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

Each class has a stable `code`; `HTTP_STATUS` maps every code to a status and a title. A test fails when an error has
no row. Details are written for people and never hold a path a client did not give, a file name, or image content.
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
        detail: one sentence for a person.
        facts: JSON-serialisable values such as `limit`, `actual`, `retry_after_s`.
    """

    code: ClassVar[str] = "error"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class BadRequest(LameganError):
    """Something in the request is wrong; the caller can mend it."""

    code = "bad-request"


class MissingImage(BadRequest):
    """No file, or an empty body."""

    code = "missing-image"


class Unauthorized(BadRequest):
    """The key is absent, wrong or revoked."""

    code = "unauthorized"


class BodyTooLarge(BadRequest):
    """More bytes than the limit, declared or streamed."""

    code = "body-too-large"


class BodyTimeout(BadRequest):
    """The body came in too slowly."""

    code = "body-timeout"


class UnsupportedType(BadRequest):
    """A type that is not served, or bytes of another type than declared."""

    code = "unsupported-type"


class UndecodableImage(BadRequest):
    """Truncated, damaged or zero-sized."""

    code = "undecodable-image"


class ImageDimensions(BadRequest):
    """Too many pixels, too few to score, or two images of different sizes."""

    code = "image-dimensions"


class LevelUnavailable(ImageDimensions):
    """The image is too small for the pyramid level asked for."""

    code = "level-unavailable"


class UnknownModel(BadRequest):
    """No such model or version."""

    code = "unknown-model"


class InvalidParameter(BadRequest):
    """An option outside its values."""

    code = "invalid-parameter"


class NotFound(BadRequest):
    """No such route."""

    code = "not-found"


class MethodNotAllowed(BadRequest):
    """The route does not take this method."""

    code = "method-not-allowed"


class Busy(LameganError):
    """Not now; the caller may come back."""

    code = "busy"


class Overloaded(Busy):
    """The queue is full, or the wait would pass the deadline. Facts: `retry_after_s`."""

    code = "overloaded"


class RateLimited(Busy):
    """This key has used its rate. Facts: `retry_after_s`."""

    code = "rate-limited"


class DeadlineExceeded(Busy):
    """Accepted, but not finished in time; the work was dropped."""

    code = "deadline-exceeded"


class ClientGone(Busy):
    """The client hung up; nobody reads the answer."""

    code = "client-gone"


class ShuttingDown(Busy):
    """The service is stopping and takes no new work."""

    code = "shutting-down"


class Fault(LameganError):
    """Ours to mend."""

    code = "fault"


class InferenceFailed(Fault):
    """The model failed on this image; the next request still works."""

    code = "inference-failed"


class NotReady(Fault):
    """Not ready yet, or no longer."""

    code = "not-ready"


class AuditUnavailable(Fault):
    """The audit log cannot be written, and no photo may be answered without a line in it."""

    code = "audit-unavailable"


class InternalError(Fault):
    """Something nobody foresaw; the log has it under the request id."""

    code = "internal-error"


class ModelError(LameganError):
    """A model that cannot be served."""

    code = "model-error"


class ModelInvalid(ModelError):
    """The card or the file breaks the export contract."""

    code = "model-invalid"


class ModelCorrupt(ModelError):
    """The file's digest is not the card's."""

    code = "model-corrupt"


class ModelUntrusted(ModelError):
    """Only signed models may serve, and no trusted key signed this one as it is."""

    code = "model-untrusted"


class SelfTestFailed(ModelError):
    """The golden self-test gave other pixels than the card's."""

    code = "self-test-failed"


class ProviderUnavailable(ModelError):
    """A GPU was asked for and none can be used."""

    code = "provider-unavailable"


class ConfigurationError(LameganError):
    """The settings contradict each other or the machine."""

    code = "configuration"


class CommandError(LameganError):
    """A command line asks for something that cannot be done."""

    code = "command"

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


class TrainingError(LameganError):
    """Training cannot start or go on."""

    code = "training"


class DataError(TrainingError):
    """The training or evaluation data cannot be used."""

    code = "training-data"


class CheckpointError(TrainingError):
    """A checkpoint cannot be written, read or resumed from."""

    code = "checkpoint"


class Diverged(TrainingError):
    """A loss is not finite, or one side of the game has won for good."""

    code = "diverged"


class ExportError(TrainingError):
    """The exported file breaks the export contract."""

    code = "export"


HTTP_STATUS: dict[str, tuple[int, str]] = {
    "error": (500, "Error"),
    "bad-request": (400, "Bad request"),
    "missing-image": (400, "No image in the request"),
    "unauthorized": (401, "A valid key is needed"),
    "body-too-large": (413, "The body is too large"),
    "body-timeout": (408, "The body came in too slowly"),
    "unsupported-type": (415, "This type is not supported"),
    "undecodable-image": (422, "The image cannot be decoded"),
    "image-dimensions": (422, "The image's size is outside the limits"),
    "level-unavailable": (422, "The image is too small for this level"),
    "unknown-model": (404, "No such model"),
    "invalid-parameter": (422, "An option is outside its values"),
    "not-found": (404, "No such route"),
    "method-not-allowed": (405, "This route does not take this method"),
    "busy": (503, "Not now"),
    "overloaded": (429, "The service is overloaded"),
    "rate-limited": (429, "This key has used its rate"),
    "deadline-exceeded": (504, "Not finished in time"),
    "client-gone": (499, "The client hung up"),
    "shutting-down": (503, "The service is shutting down"),
    "fault": (500, "A fault of the service"),
    "inference-failed": (500, "The model failed on this image"),
    "audit-unavailable": (503, "The audit log cannot be written"),
    "not-ready": (503, "The service is not ready"),
    "internal-error": (500, "Internal error"),
    "model-error": (500, "The model cannot be served"),
    "model-invalid": (500, "The model breaks its contract"),
    "model-untrusted": (500, "The model is not signed by a trusted key"),
    "model-corrupt": (500, "The model file is corrupt"),
    "self-test-failed": (500, "The model failed its self-test"),
    "provider-unavailable": (500, "The asked-for device is absent"),
    "configuration": (500, "The configuration is wrong"),
    "command": (500, "The command cannot be done"),
    "training": (500, "Training failed"),
    "training-data": (500, "The training data cannot be used"),
    "checkpoint": (500, "The checkpoint cannot be used"),
    "diverged": (500, "Training diverged"),
    "export": (500, "The export breaks its contract"),
}
"""One row an error code: HTTP status and the problem document's title (RFC 9457)."""


def every_error(base: type[LameganError] = LameganError) -> list[type[LameganError]]:
    """`base` and all its subclasses, depth first in order of definition."""
    return [base] + [error for child in base.__subclasses__() for error in every_error(child)]
