"""RFC 9457 problem documents: the response of every error path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.api.request_context import RequestContext, Send
from service.errors import PROBLEM_TYPE_PREFIX, LameganError

PROBLEM_MEDIA_TYPE = "application/problem+json"


_FACTS: dict[str, dict[str, Any]] = {
    "limit": {"description": "What was exceeded."},
    "actual": {"description": "What was sent instead."},
    "parameter": {"type": "string", "description": "The option that is wrong."},
    "retry_after_s": {"type": "number", "description": "Seconds to wait before the next attempt."},
}
"""Facts that some problems have and others lack; they are left out of a document rather than null."""


def _describe_facts(schema: dict[str, Any]) -> None:
    schema["properties"] |= _FACTS


class Problem(BaseModel):
    """An error as the client reads it (RFC 9457), with machine facts such as `limit` and `actual` beside."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_describe_facts)

    type: str = Field(description="Stable identifier of the kind of problem.")
    code: str = Field(description="The same, short.")
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time, in plain words.")
    request_id: str = Field(description="Quote this when asking for help.")


@dataclass(frozen=True, slots=True)
class ProblemAnswer:
    """A problem document ready to send."""

    status: int
    code: str
    body: bytes
    headers: dict[str, str]


def problem_answer(error: LameganError, request_id: str) -> ProblemAnswer:
    """The response for `error`: status and title of its class, headers that its status calls for."""
    facts = dict(error.facts)
    headers = {"content-type": PROBLEM_MEDIA_TYPE, "cache-control": "no-store"}
    if isinstance(allow := facts.pop("allow", None), str):
        headers["allow"] = allow
    if error.status == 401:
        headers["www-authenticate"] = str(facts.pop("challenge", 'Bearer realm="lamegan"'))
    if error.retry_after_s is not None:
        wait_s = facts.setdefault("retry_after_s", error.retry_after_s)
        headers["retry-after"] = str(max(1, math.ceil(float(str(wait_s)))))
    document = Problem(
        type=PROBLEM_TYPE_PREFIX + error.code,
        code=error.code,
        title=error.title,
        status=error.status,
        detail=error.detail,
        request_id=request_id,
        **facts,
    )
    body = document.model_dump_json().encode()
    return ProblemAnswer(error.status, error.code, body, headers | {"content-length": str(len(body))})


async def send_problem(send: Send, context: RequestContext, error: LameganError) -> None:
    """Answer a request with the problem document of `error`."""
    answer = problem_answer(error, context.request_id)
    context.code = answer.code
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
