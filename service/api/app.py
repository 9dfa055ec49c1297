"""The ASGI application: routes inside, admission before them, the request log before everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.api.dependencies import Dependencies
from service.api.middleware.admission import ROUTES, Admission
from service.api.middleware.cors import with_cors
from service.api.middleware.request_log import UNFORESEEN, RequestLog
from service.api.openapi import Terms, describe
from service.api.problems import problem_answer
from service.api.request_context import App, context_of
from service.api.routes.assess import assess_routes
from service.api.routes.enhance import enhance_routes
from service.api.routes.info import USE, about_routes
from service.api.routes.pages import page_routes
from service.api.routes.score import score_routes
from service.api.schemas import EnhanceFacts, EnhanceQuery, ScoreQuery
from service.errors import BadRequest, InvalidParameter, LameganError, MethodNotAllowed, NotFound
from service.vocabulary import Policy

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_OPTIONS = {"/enhance": sorted(EnhanceQuery.model_fields), "/score": sorted(ScoreQuery.model_fields)}
"""The options that each route knows."""


@dataclass(frozen=True, slots=True)
class Api:
    """The application, and the admission that shutdown closes."""

    app: App
    gate: Admission


def build_api(parts: Dependencies, lifespan: Lifespan) -> Api:
    """The whole HTTP application, working with `parts`."""
    inner = FastAPI(
        title="LaMEGAN",
        version=parts.offer.version,
        summary="Enhances throat photos and says how much of their structure it kept.",
        description=USE,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    described: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not described:
            described.append(describe(inner, (EnhanceFacts,), _terms(parts, gate)))
        return described[0]

    gate = Admission(cast(App, inner), parts.rules, parts.keys, parts.rate, parts.reader, parts.pool)
    for routes in (
        enhance_routes(parts),
        assess_routes(parts),
        score_routes(parts),
        about_routes(parts),
        page_routes(openapi),
    ):
        inner.include_router(routes)
    _answer_errors_with_problems(inner)
    app = with_cors(gate, parts.cors_origins)
    return Api(RequestLog(app, parts.metrics, ROUTES, parts.place, parts.tracing), gate)


def _terms(parts: Dependencies, gate: Admission) -> Terms:
    """A request may ask for the server's policy or a stricter one."""
    order = [policy.value for policy in Policy]
    return Terms(gate.needs_key, tuple(order[order.index(parts.enhancer.defaults.policy.value) :]))


def _answer_errors_with_problems(app: FastAPI) -> None:
    @app.exception_handler(LameganError)
    async def ours(request: Request, error: LameganError) -> Response:
        return _problem(request, error)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, _error: Exception) -> Response:
        return _problem(request, UNFORESEEN)  # the framework raises it again, and the request log logs it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _problem(request, _invalid_parameter(error, _OPTIONS.get(context_of(request.scope).route, [])))

    @app.exception_handler(HTTPException)
    async def foreign(request: Request, error: HTTPException) -> Response:
        return _problem(request, _from_framework(error))


def _problem(request: Request, error: LameganError) -> Response:
    context = context_of(request.scope)
    answer = problem_answer(error, context.request_id)
    context.code = answer.code
    return Response(answer.body, answer.status, answer.headers)


def _invalid_parameter(error: RequestValidationError, options: list[str]) -> InvalidParameter:
    """Name the option and what it must be; never what the client wrote, which may be anything."""
    first = error.errors()[0]
    name = str(first["loc"][-1])
    if first["type"] == "extra_forbidden" or name not in options:
        return InvalidParameter(f"An option is not known here. Known here: {', '.join(options)}.")
    reason = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return InvalidParameter(f"{name} {reason}.", parameter=name)


def _from_framework(error: HTTPException) -> LameganError:
    if error.status_code == 404:
        return NotFound("There is no such route.")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        allowed = "GET, HEAD" if allowed == "GET" else allowed  # the request log turns HEAD into GET
        return MethodNotAllowed("This route does not take this method.", allow=allowed)
    return BadRequest("The request cannot be understood.")
