"""What the service knows about one HTTP request while it is under way."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from service.monitoring.tracing import RequestTrace
from service.pipeline import Interval

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "lamegan.request"

_WELL_FORMED = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_NAMES_NOBODY = re.compile(r"^[0-9A-Fa-f-]{16,64}$")


@dataclass(slots=True)
class RequestContext:
    """Facts of one request for its response, its log line and the metrics.

    Attributes:
        request_id: sent by the client if well-formed, else made here.
        route: path of the route, or "unmatched"; never what a client made up.
        key: name of the key it came with.
        code: error code of the response.
        facts: for the log line; nothing personal.
        stages: when the request was in which stage.
        trace: its span; None: it is not traced.
    """

    request_id: str
    route: str
    arrived: float = field(default_factory=time.monotonic)
    key: str | None = None
    code: str = "ok"
    facts: dict[str, object] = field(default_factory=dict)
    stages: list[Interval] = field(default_factory=list)
    trace: RequestTrace | None = None

    @property
    def loggable_id(self) -> str:
        """The request id as logs may hold it: a client can put a name in an id, so only hexadecimal ones are kept."""
        if _NAMES_NOBODY.match(self.request_id):
            return self.request_id
        return "sha256:" + hashlib.sha256(self.request_id.encode()).hexdigest()[:16]


def request_id(sent: str | None) -> str:
    """`sent` if it is well-formed (1 to 64 letters, digits, dots, dashes, underscores), else a new one."""
    return sent if sent is not None and _WELL_FORMED.match(sent) else uuid.uuid4().hex


def header(scope: Scope, name: bytes) -> str | None:
    """The first header called `name` (lower case), or None."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def context_of(scope: Scope) -> RequestContext:
    """The context that the request log put there."""
    context: RequestContext = scope[SCOPE_KEY]
    return context
