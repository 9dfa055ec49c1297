"""The HTTP/1.1 connection: uvicorn's, with a deadline for a request's head, and problem documents for broken heads.

A wish for another protocol (Upgrade) is ignored and the request served, as RFC 9110 section 7.8 lets a server do:
Java's HttpClient wishes for HTTP/2 in the first request of every connection.
"""

from __future__ import annotations

import asyncio
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.middleware.request_log import RequestLog
from service.errors import BadRequest, Overloaded

HEAD_TIMEOUT_S = 10.0
"""From the opening of a connection, or the first byte of its next request, to the end of the request's headers."""

MAX_CONNECTIONS = 4096
MAX_HEAD_BYTES = 65_536
HEADER_PUNCTUATION = len(": \r\n")


class HttpProtocol(HttpToolsProtocol):
    """One client connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_received = 0
    _head_parsed = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it: there are too many."""
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
            self._head_received += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):  # the latter is CONNECT: no head of it is without its wish
            self._answer_and_close(BadRequest("This is not a well-formed HTTP request."))
            return
        head_bytes = max(self._head_received, self._head_parsed)
        if self._head_timer is not None and head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._answer_and_close(BadRequest("The head of the request is too long.", limit=MAX_HEAD_BYTES))
        cycle: RequestResponseCycle | None = self.cycle
        if self._head_timer is None and (cycle is None or cycle.response_complete):
            self._start_head()  # bytes that begin no request, or belong to one already answered: not for long

    def on_message_begin(self) -> None:
        """Start the deadline of a request's head."""
        super().on_message_begin()
        self._start_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what the head takes, for many headers can come in the piece that begins it."""
        self._head_parsed += len(name) + len(value) + HEADER_PUNCTUATION
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the deadline and begin the request, unless its head is about to be fed again."""
        if not self.parser.should_upgrade():
            self._end_head()
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless it has not begun."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        """Feed the parser.

        After the head of a request that wishes for another protocol the parser stops, and would take the body for the
        next request. So a new parser is given the same head without the wish, and then the rest.
        """
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as wish:
                rest = rest[wish.args[0] :]
                head = self._head_without_wish()
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's: it is not an error
                self.parser.feed_data(head)
            else:
                return

    def _head_without_wish(self) -> bytes:
        start = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join((start, *lines, b"", b""))

    def _start_head(self) -> None:
        self._end_head()
        self._head_received = self._head_parsed = 0
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
        front = cast(RequestLog, self.app)  # uvicorn wraps it in nothing
        answer = front.turn_away(error)
        cycle: RequestResponseCycle | None = self.cycle
        # Once a response has begun, this would land in it.
        if cycle is None or cycle.response_complete or not cycle.response_started:
            headers = answer.headers | {"connection": "close"}
            lines = [f"{name}: {value}" for name, value in headers.items()]
            head = "\r\n".join((f"HTTP/1.1 {answer.status} {answer.code}", *lines, "", ""))
            self.transport.write(head.encode("latin-1") + answer.body)
        self.transport.close()
