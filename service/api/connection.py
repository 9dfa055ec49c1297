"""The HTTP/1.1 connection: uvicorn's, with a deadline for a request's head, and problem documents for broken heads."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.problems import problem_answer
from service.errors import BadRequest, Overloaded

HEAD_TIMEOUT_S = 10.0
"""From the opening of a connection, or the first byte of its next request, to the end of the request's headers."""

MAX_CONNECTIONS = 4096
MAX_HEAD_BYTES = 65_536
HEADER_PUNCTUATION = len(": \r\n")


class Connection(HttpToolsProtocol):
    """One client connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or answer that there are too many."""
        super().connection_made(transport)
        self._start_head()
        if len(self.connections) > MAX_CONNECTIONS:
            self._answer_and_close(Overloaded("Too many connections are open.", limit=MAX_CONNECTIONS))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that never ends is cut off."""
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._answer_and_close(BadRequest("The head of the request is too long.", limit=MAX_HEAD_BYTES))
        cycle: RequestResponseCycle | None = self.cycle
        if self._head_timer is None and (cycle is None or cycle.response_complete):
            self._start_head()  # bytes that begin no request, or belong to one already answered: not for long

    def on_message_begin(self) -> None:
        """Start the deadline of a request's head."""
        super().on_message_begin()
        self._start_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what the head takes, for many headers can come in one piece."""
        self._head_bytes += len(name) + len(value) + HEADER_PUNCTUATION
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the deadline."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem document."""
        self._answer_and_close(BadRequest("This is not a well-formed HTTP request."))

    def _start_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _answer_and_close(self, error: BadRequest | Overloaded) -> None:
        answer = problem_answer(error, uuid.uuid4().hex)
        headers: dict[str, Any] = answer.headers | {"connection": "close"}
        lines = [f"HTTP/1.1 {answer.status} {error.code}", *(f"{name}: {value}" for name, value in headers.items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body)
        self.transport.close()
