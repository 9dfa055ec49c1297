"""How DIMSE uses TCP: without waiting for acknowledgements, and with few system calls for many bytes.

An object is many PDUs, and many an implementation writes head and body of a PDU in two pieces. TCP holds a small piece
back until the piece before it is acknowledged (Nagle's algorithm, RFC 896), and the other side puts that off by 40 ms
in the hope of data to send with it (RFC 1122 4.2.3.2). We send without holding back, and acknowledge at once, for the
other side is not ours to set: DCMTK, and what is built on it, holds back unless told otherwise.

Threads that enhance keep the interpreter busy: each system call of a thread that receives may wait 5 ms to go on.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial

from pynetdicom import _config, evt
from pynetdicom.transport import AssociationSocket

QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)
"""Only Linux has it; the kernel forgets it as soon as data goes the other way (tcp(7)): it is set again and again."""

LARGEST_PDU_BYTES = 131_072
"""What senders may put in one PDU (PS3.8 D.1): DCMTK's largest."""

PIECE_BYTES = 1 << 20
"""Room made at once for what a PDU claims to hold."""

_config.LOG_HANDLER_LEVEL = "none"  # the gateway discards the library's lines; each PDU would be told to its loggers


def prompt_handlers() -> list[evt.EventHandlerType]:
    """Handlers of pynetdicom that set up an association's socket, whichever side opened it."""
    handlers: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, _opened)]
    if QUICK_ACK is not None:
        handlers += [(evt.EVT_PDU_SENT, _acknowledge_at_once), (evt.EVT_PDU_RECV, _acknowledge_at_once)]
    return handlers


def _opened(event: evt.Event) -> None:
    found = event.assoc.dul.socket
    if found is not None:
        _set(found, socket.TCP_NODELAY)
        found.recv = partial(receive, found)  # type: ignore[method-assign]  # the library's reads 4,096 bytes a call


def _acknowledge_at_once(event: evt.Event) -> None:
    found = event.assoc.dul.socket
    if found is not None and QUICK_ACK is not None:
        _set(found, QUICK_ACK)


def _set(connection: AssociationSocket, option: int) -> None:
    if connection.socket is not None:
        with suppress(OSError):  # it has been closed
            connection.socket.setsockopt(socket.IPPROTO_TCP, option, 1)


def receive(connection: AssociationSocket, count: int) -> bytearray:
    """The next `count` bytes, or fewer where the other side ends."""
    got = bytearray()
    while len(got) < count and connection.socket is not None:
        piece = connection.socket.recv(min(count - len(got), PIECE_BYTES))
        if not piece:
            break
        got += piece
    return got
