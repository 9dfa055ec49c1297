"""The web page at /, its files, and /docs: no inline script, nothing from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.openapi import HTTP_CODES
from service.api.sub_path import is_bare, prefix_of
from service.errors import HTTP_STATUS, NotFound

PAGE_FOLDER = Path(__file__).parents[1] / "page"
INDEX = "index.html"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def page_routes(describe: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes; files are read once, so a request can name no path. `describe` gives the OpenAPI document."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in PAGE_FOLDER.iterdir() if path.suffix in MEDIA_TYPES}

    def answer(name: str) -> Response:
        if name not in files:
            raise NotFound("There is no such route.")
        return _page(files[name], MEDIA_TYPES[Path(name).suffix])

    @router.get("/")
    async def index(request: Request) -> Response:
        if is_bare(request.scope):
            return Response(status_code=308, headers={"location": prefix_of(request.scope) + "/"})
        return answer(INDEX)

    @router.get("/page/{name}")
    async def page_file(name: str) -> Response:
        return answer(name)

    @router.get("/docs")
    async def docs() -> Response:
        return _page("".join(_docs(describe())).encode(), MEDIA_TYPES[".html"])

    @router.get("/openapi.json")
    async def openapi(request: Request) -> Response:
        document = {**describe(), "servers": [{"url": prefix_of(request.scope) or "/"}]}
        return _page(json.dumps(document).encode(), "application/json")

    return router


def _page(content: bytes, media_type: str) -> Response:
    return Response(content, headers=SECURITY_HEADERS | {"content-type": media_type})


def _docs(document: dict[str, Any]) -> Iterator[str]:
    """The OpenAPI document as a plain page."""
    title = html.escape(document["info"]["title"])
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<title>{title}: HTTP</title><link rel="stylesheet" href="page/docs.css"></head><body><main>'
    yield f"<h1>{title}</h1><p>{html.escape(document['info'].get('description', ''))}</p>"
    yield '<p>The same for machines: <a href="openapi.json">openapi.json</a>.</p>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method, path, operation)
    yield "<h2>Problem codes</h2><table><tr><th>status</th><th>code</th><th>meaning</th></tr>"
    for code, (status, meaning) in sorted(HTTP_STATUS.items(), key=lambda row: row[1][0]):
        if code not in HTTP_CODES:
            continue
        yield f"<tr><td>{status}</td><td><code>{code}</code></td><td>{html.escape(meaning)}</td></tr>"
    yield "</table></main></body></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
    yield f"<p><strong>{html.escape(operation.get('summary', ''))}.</strong> "
    yield f"{html.escape(operation.get('description', ''))}</p>"
    if body := operation.get("requestBody"):
        yield f"<h3>Body</h3><p>{html.escape(body.get('description', ''))}</p><ul>"
        yield "".join(f"<li><code>{html.escape(media)}</code></li>" for media in body["content"])
        yield "</ul>"
    if parameters := operation.get("parameters"):
        yield "<h3>Query</h3><dl>"
        for parameter in parameters:
            yield f"<dt><code>{html.escape(parameter['name'])}</code></dt>"
            yield f"<dd>{html.escape(parameter.get('description', ''))}</dd>"
        yield "</dl>"
    yield "<h3>Responses</h3><dl>"
    for status, response in sorted(operation["responses"].items()):
        yield f"<dt>{status}</dt><dd>{html.escape(response.get('description', ''))}"
        for name, about in response.get("headers", {}).items():
            yield f"<br><code>{html.escape(name)}</code> {html.escape(about.get('description', ''))}"
        yield "</dd>"
    yield "</dl></section>"
