"""Associations that we open, kept open while there is something to send: to open one takes longer than an object."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Collection
from contextlib import suppress

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from service.dicom.gateway.config import Destination
from service.dicom.gateway.sender import Unreachable
from service.dicom.gateway.tcp_options import LARGEST_PDU_BYTES, prompt_handlers

Kind = tuple[str, str | None]
"""A presentation context to propose: abstract syntax, and a transfer syntax or None for the usual ones."""

MOST_KINDS = 100
"""PS3.8 9.3.2.2 has room for 128 presentation contexts."""

LINGER_S = 1.0
"""How long an association stays open without anything to send."""

PROBE_S = 3.0


def application_entity(ae_title: str, timeout_s: float) -> AE:
    """An application entity in which every wait has a deadline."""
    entity = AE(ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    entity.maximum_pdu_size = LARGEST_PDU_BYTES
    return entity


class ReactorCheckpoint(threading.Event):
    """Stands in for the event at which an association's own thread stops while another thread makes a request.

    The library's own lets that thread go on for a moment after `clear`: it may take the response and drop it, and the
    asking thread waits for it until its deadline. Here `clear` returns when the thread has stopped, not before.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self._change = threading.Condition()
        self._open, self._stopped = True, False

    def is_set(self) -> bool:
        """Whether the thread may go on."""
        return self._open

    def set(self) -> None:
        """Let the thread go on."""
        with self._change:
            self._open = True
            self._change.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Stop until `set`; called by the association's thread."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
            try:
                return self._change.wait_for(lambda: self._open, timeout)
            finally:
                self._stopped = False

    def clear(self) -> None:
        """Stop the thread, and return once it has stopped.

        Raises:
            RuntimeError: the association has ended.
        """
        with self._change:
            self._open = False
            while not self._change.wait_for(lambda: self._stopped, timeout=0.1):
                if not self._association.is_established:
                    self._open = True
                    raise RuntimeError("The association has ended.")


class Caller:
    """Opens associations to one destination."""

    def __init__(self, destination: Destination, own_title: str) -> None:
        self._to = destination
        self._entity = application_entity(own_title, destination.timeout_s)
        if destination.tls:
            destination.tls.client()  # a file that cannot be used is told at the start

    def call(self, kinds: Collection[Kind], handlers: list[evt.EventHandlerType] | None = None) -> Association:
        """An association on which `kinds` were proposed.

        Raises:
            Unreachable: it cannot be opened; in its reason, why.
        """
        tls = (self._to.tls.client(), self._to.host) if self._to.tls else None
        association = self._entity.associate(
            str(self._to.host),
            int(self._to.port or 0),
            contexts=[build_context(*kind) for kind in sorted(kinds, key=str)],
            ae_title=str(self._to.ae_title),
            evt_handlers=[*prompt_handlers(), *(handlers or [])],
            tls_args=tls,  # type: ignore[arg-type]
        )
        if not association.is_established:
            raise Unreachable("rejected" if association.is_rejected else self._why_not())
        association._reactor_checkpoint = ReactorCheckpoint(association)  # noqa: SLF001
        return association

    def _why_not(self) -> str:
        """Why there was no association, found by connecting once more: the library keeps it to itself."""
        address = (str(self._to.host), int(self._to.port or 0))
        try:
            with socket.create_connection(address, min(PROBE_S, self._to.timeout_s)) as plain:
                if self._to.tls is None:
                    return "no-association"
                with self._to.tls.client().wrap_socket(plain, server_hostname=self._to.host) as shaken:
                    shaken.recv(1)  # in TLS 1.3 it is told after the handshake that our certificate is not wanted
        except ssl.SSLError:
            return "tls"
        except TimeoutError:
            return "no-association"
        except OSError:
            return "no-connection"
        return "no-association"


class HeldAssociation:
    """At most one association, opened when it is needed and released when it was not used for a while.

    Attributes:
        is_new: whether it was opened by the last `get`; one that was open before may have been closed meanwhile.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._association: Association | None = None
        self._kinds: set[Kind] = set()
        self._used_at = 0.0
        self.is_new = False

    def get(self, kinds: set[Kind]) -> Association:
        """The association, on which `kinds` were proposed.

        Raises:
            Unreachable: it cannot be opened.
        """
        self._used_at = time.monotonic()
        known = self._association
        self.is_new = known is None or not known.is_established or not kinds <= self._kinds
        if self.is_new or known is None:
            self.release()
            self._kinds = kinds | self._kinds if len(kinds | self._kinds) <= MOST_KINDS else kinds
            known = self._association = self._caller.call(self._kinds)
        return known

    def rest(self) -> None:
        """Nothing is to be sent now: release it if that has been so for a while."""
        if self._association is not None and time.monotonic() - self._used_at > LINGER_S:
            self.release()

    def release(self) -> None:
        """End the association, if there is one."""
        known, self._association = self._association, None
        if known is not None:
            end(known)


def end(association: Association) -> None:
    """Release `association`, unless it has ended."""
    if association.is_established:
        with suppress(RuntimeError):  # it has ended in this moment
            association.release()
