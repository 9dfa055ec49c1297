"""Browsers of other origins: let in where configured, and told in a problem document where not."""

from __future__ import annotations

from typing import Any, cast

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from service.api.openapi import ENHANCE_HEADERS
from service.api.request_context import App
from service.errors import BadRequest


def with_cors(app: App, origins: tuple[str, ...]) -> App:
    """`app` for browsers of `origins` too; `*` is all, none leaves it as it is."""
    if not origins:
        return app
    return cast(
        App,
        _Cors(
            cast(Any, app),
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=(
                "*",
            ),  # uploaders and tracers send headers of their own: Dropzone, Uppy, Sentry, OpenTelemetry
            expose_headers=(*ENHANCE_HEADERS, "Retry-After", "traceparent"),
        ),
    )


class _Cors(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        """The response to a browser that asks first.

        Raises:
            BadRequest: what it asks for is not let in.
        """
        answer = super().preflight_response(request_headers)
        if answer.status_code != 200:
            raise BadRequest("Browsers are not let in from this origin, or not with this method.")
        return answer
