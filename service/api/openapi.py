"""What /openapi.json says beyond what the routes' types say: bodies, headers and every problem document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.api.problems import PROBLEM_MEDIA_TYPE, Problem
from service.dicom.answer import DICOM_MEDIA_TYPE
from service.errors import HTTP_STATUS
from service.imaging.codecs import MEDIA_TYPES, WRITTEN
from service.monitoring.metrics import METRICS_MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

_ANY_BYTES = "application/octet-stream"
_BINARY = {"type": "string", "format": "binary"}
_REQUEST_ID = {"X-Request-ID": {"description": "Names this request in logs.", "schema": {"type": "string"}}}

_OWN_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "Names this request in logs and in the response; 1 to 64 letters, digits, `.`, `_`, `-`, or it is "
    "replaced.",
    "schema": {"type": "string"},
}


def _text(description: str, required: bool = True) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


def _problems(*codes: str) -> Responses:
    """Rows for the problem documents with these codes, one a status."""
    rows: Responses = {}
    for code in codes:
        status, title = HTTP_STATUS[code]
        row = rows.setdefault(
            status,
            {
                "description": "",
                "headers": dict(_REQUEST_ID),
                "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
        row["description"] = "; ".join(filter(None, (row["description"], f"`{code}`: {title}")))
        if status in (429, 503):
            row["headers"]["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        if status == 401:
            row["headers"]["WWW-Authenticate"] = _text("Bearer.")
    return rows


_WORK_PROBLEMS = (
    *("bad-request", "missing-image", "unauthorized", "body-timeout", "body-too-large", "unsupported-type"),
    *("undecodable-image", "image-dimensions", "invalid-parameter", "overloaded", "rate-limited", "deadline-exceeded"),
    *("inference-failed", "internal-error", "shutting-down", "not-ready", "audit-unavailable"),
)

HTTP_CODES = frozenset((*_WORK_PROBLEMS, "unknown-model", "not-found", "method-not-allowed"))
"""Every problem code that a response can carry; docs/http.md says what to do about each."""

ENHANCE_HEADERS = {
    "LaSSIM": _text("Structure kept, against the input, at the canonical scale; 4 decimals, 1 is all."),
    "LaSSIM-Worst": _text("Structure kept at the place that changed most, light and contrast left out; 4 decimals."),
    "LaSSIM-Verdict": {
        "description": "What the guardrail did.",
        "required": True,
        "schema": {"type": "string", "enum": ["pass", "constrained", "withheld"]},
    },
    "LaSSIM-Blend": _text("Share of the input blended back in; 4 decimals."),
    "Dicom-Object": {
        "description": "Of a DICOM response: image, or report where the image is withheld.",
        "required": False,
        "schema": {"type": "string", "enum": ["image", "report"]},
    },
    "Model": _text("name/version of the model that made the image."),
    "Model-Digest": _text("sha256=... of that model's file."),
    "Quality": _text("The photo's own quality, before=0.41, after=0.73: 0 is worst, 1 best."),
    "Server-Timing": _text("Milliseconds of decode, queue, infer, transfer, score and encode."),
    "X-Request-ID": _text("Names this request in logs."),
}

ENHANCE_RESPONSES: Responses = {
    200: {
        "description": "The enhanced image, upright and of the size sent; or, where Accept prefers JSON, the facts.",
        "headers": ENHANCE_HEADERS,
        "content": {
            **{MEDIA_TYPES[form]: {"schema": _BINARY} for form in WRITTEN},
            **{media: {"schema": _BINARY} for media in (DICOM_MEDIA_TYPE, "multipart/related")},
            "application/json": {"schema": {"$ref": "#/components/schemas/EnhanceFacts"}},
        },
    },
    **_problems(*_WORK_PROBLEMS, "unknown-model"),
}
ASSESS_RESPONSES: Responses = _problems(*_WORK_PROBLEMS)
SCORE_RESPONSES: Responses = _problems(*_WORK_PROBLEMS)
KEYED_PROBLEMS: Responses = _problems("bad-request", "unauthorized", "invalid-parameter", "internal-error")
NOT_READY_RESPONSES: Responses = _problems("not-ready")
METRICS_RESPONSES: Responses = {
    200: {"description": "The metrics.", "content": {METRICS_MEDIA_TYPE: {"schema": {"type": "string"}}}},
    **_problems("unauthorized"),
}


def _one_image(*bare: str) -> dict[str, Any]:
    """The request body of a route that takes one image, as a part or bare, of the media types `bare`."""
    form = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": True,
        "properties": {"file": _BINARY},
    }
    return {
        "requestBody": {
            "required": True,
            "description": "One image: as a part `file` (other fields are ignored), or bare. The bytes decide its "
            "format; the type has to agree.",
            "content": {
                "multipart/form-data": {"schema": form},
                **{media: {"schema": _BINARY} for media in bare},
            },
        }
    }


ENHANCE_BODY = _one_image(*MEDIA_TYPES.values(), DICOM_MEDIA_TYPE, _ANY_BYTES)
ASSESS_BODY = _one_image(*MEDIA_TYPES.values(), _ANY_BYTES)
SCORE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Two images of one size.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["output", "input"],
                    "additionalProperties": True,
                    "properties": {"output": _BINARY, "input": _BINARY},
                }
            }
        },
    }
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What of the document depends on the settings.

    Attributes:
        needs_key: whether a path asks for a key.
        policies: the policies that a request may name.
    """

    needs_key: Callable[[str], bool]
    policies: tuple[str, ...]


def describe(app: FastAPI, models: tuple[type[BaseModel], ...], terms: Terms) -> dict[str, Any]:
    """The OpenAPI document of `app`; `models` are schemas that it refers to."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    _add_schemas(components.setdefault("schemas", {}), (Problem, *models))
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"]["200"].setdefault("headers", {}).setdefault("X-Request-ID", _text("Id."))
            if terms.needs_key(path):
                operation["security"] = [{"key": []}]
            else:
                operation["responses"].pop("401", None)
            operation.setdefault("parameters", []).append(dict(_OWN_REQUEST_ID))
            for parameter in operation["parameters"]:
                if parameter["name"] == "policy":
                    parameter["schema"] = {"type": "string", "enum": list(terms.policies)}
    return document


def _add_schemas(schemas: dict[str, Any], models: tuple[type[BaseModel], ...]) -> None:
    """Add the schemas of `models`, and drop those of the framework's own errors, which are never sent."""
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
