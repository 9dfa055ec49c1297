"""The server under the listener: a TLS handshake cannot hold up other senders, and connections are bounded.

pynetdicom shakes hands in the thread that accepts, without a deadline: one sender that connects and says nothing would
keep every other one out. Here each handshake has a thread and a deadline of its own.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.events import EventHandlerType
from pynetdicom.transport import ThreadedAssociationServer

HANDSHAKE_S = 10.0
SPARE_CONNECTIONS = 20
"""Connections beyond the associations allowed that get a proper A-ASSOCIATE-RJ; one more is closed at once."""


class AssociationServer(ThreadedAssociationServer):
    """Accepts connections for an application entity until it is shut down."""

    daemon_threads = True

    def __init__(self, entity: AE, address: tuple[str, int], *, tls: ssl.SSLContext | None, **options: Any) -> None:
        """Bind.

        Raises:
            OSError: the address is taken.
        """
        self._tls = tls
        self._most = entity.maximum_associations + SPARE_CONNECTIONS
        self._beginning = 0
        self._count_lock = threading.Lock()
        self.on_refused: Callable[[str, str], None] = lambda _reason, _peer: None
        super().__init__(entity, address, entity.ae_title, entity.supported_contexts, **options)

    def shutdown(self) -> None:
        """Take no more connections, and close the socket."""
        BaseServer.shutdown(self)
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether one more connection is taken; it is closed if not."""
        with self._count_lock:
            if len(self.active_associations) + self._beginning < self._most:
                self._beginning += 1
                return True
        self.on_refused("too-many-connections", str(client_address[0]))
        return False

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, if TLS is spoken, and begin the association; runs in a thread of its own."""
        try:
            shaken = self._shake_hands(request, self._tls) if self._tls else request
            super().finish_request(shaken, client_address)
        except OSError:  # ssl.SSLError is one
            self.on_refused("tls", str(client_address[0]))
            self.shutdown_request(request)
        finally:
            with self._count_lock:
                self._beginning -= 1

    @staticmethod
    def _shake_hands(request: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        request.settimeout(HANDSHAKE_S)
        shaken = tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        try:
            shaken.do_handshake()
        except OSError:
            shaken.close()
            raise
        shaken.settimeout(None)
        return shaken


def serve(
    entity: AE, address: tuple[str, int], handlers: list[EventHandlerType], tls: ssl.SSLContext | None
) -> AssociationServer:
    """A server for `entity` that runs in a thread until `shutdown`.

    Raises:
        OSError: the address is taken.
    """
    server = AssociationServer(entity, address, tls=tls, evt_handlers=handlers)
    threading.Thread(target=server.serve_forever, name="listener", daemon=True).start()
    return server


def refusal_of(event: evt.Event) -> str:
    """Why an association was rejected, as a code (PS3.8 9.3.4: result, source, diagnostic)."""
    answer = event.assoc.acceptor.primitive
    told = (answer.result, answer.result_source, answer.diagnostic) if answer is not None else (None, None, None)
    return {
        (1, 1, 3): "calling-ae-title",
        (1, 1, 7): "called-ae-title",
        (2, 3, 1): "disk-full",
        (2, 3, 2): "too-many-associations",
    }.get(told, "rejected")  # type: ignore[arg-type]
