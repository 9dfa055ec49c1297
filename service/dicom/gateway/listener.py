"""The DIMSE side that hospitals send to: C-ECHO and C-STORE, and the responses to our own storage commitment requests.

C-STORE answers success only once the object is in the spool for good. Source: DICOM PS3.4 B.2.3 (C-STORE statuses),
PS3.7 9.1.1, PS3.8 9.3.4 (A-ASSOCIATE-RJ), PS3.4 J.3 (storage commitment).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol

from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from service.dicom.gateway.config import Listen
from service.dicom.gateway.spool import Spool
from service.dicom.served import SERVED_TRANSFER_SYNTAXES, STORAGE_COMMITMENT, VERIFICATION
from service.errors import ConfigurationError
from service.monitoring.logs import get_logger

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
NOT_AUTHORISED = 0x0124

TRANSIENT, PROVIDER, CONGESTION = 0x02, 0x03, 0x01
"""A-ASSOCIATE-RJ: rejected transient, by the provider (presentation), temporary congestion."""

_FORWARDED_SYNTAXES = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
"""Lossless JPEG is not decoded here, but may be kept or forwarded."""


class Counts(Protocol):
    """What the listener counts."""

    def received(self, outcome: str) -> None:
        """One C-STORE: stored, duplicate, full, invalid."""

    def association(self, outcome: str) -> None:
        """One association: accepted, rejected, full."""


class Listener:
    """Listens until it is stopped."""

    def __init__(
        self, options: Listen, destinations: list[str], spool: Spool, least_free_bytes: int, counts: Counts
    ) -> None:
        """Prepare; `destinations` are AE titles that may call to answer about storage commitment, but not store."""
        self._options = options
        self._destinations = destinations
        self._spool = spool
        self._least_free = least_free_bytes
        self._counts = counts
        self._log = get_logger("lamegan.gateway")
        self._server: ThreadedAssociationServer | None = None
        self.on_received: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None  # noqa: S101  (started)
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin.

        Raises:
            ConfigurationError: the address is taken, or a TLS file cannot be used.
        """
        options = self._options
        entity = application_entity(options.ae_title, 30.0)
        entity.maximum_associations = options.most_associations
        entity.require_called_aet = True
        anybody = options.allowed_calling == ("*",)
        entity.require_calling_aet = [] if anybody else [*options.allowed_calling, *self._destinations]
        entity.add_supported_context(VERIFICATION)
        entity.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(
                str(context.abstract_syntax), [*SERVED_TRANSFER_SYNTAXES, *_FORWARDED_SYNTAXES]
            )
        handlers = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, lambda _event: self._counts.association("accepted")),
            (evt.EVT_REJECTED, lambda _event: self._counts.association("rejected")),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._commitment),
        ]
        try:
            self._server = entity.start_server(
                (options.host, options.port),
                block=False,
                evt_handlers=handlers,  # type: ignore[arg-type]
                ssl_context=options.tls.server() if options.tls else None,
            )
        except OSError as error:
            raise ConfigurationError(f"Port {options.port} of {options.host} cannot be listened on.") from error

    def stop(self) -> None:
        """Take no new associations and end those that are under way."""
        if self._server is not None:
            self._server.shutdown()
            self._server.ae.shutdown()

    def _is_full(self, more: int = 0) -> bool:
        return self._spool.free_bytes() - more < self._least_free

    def _may_store(self, calling: str) -> bool:
        allowed = self._options.allowed_calling
        return allowed == ("*",) or calling.strip() in allowed

    def _requested(self, event: Event) -> None:
        """Refuse every association while the disk is full, so that the sender keeps what it has."""
        if self._is_full():
            self._counts.association("full")
            event.assoc.acse.send_reject(TRANSIENT, PROVIDER, CONGESTION)

    def _store(self, event: Event) -> int:
        if not self._may_store(event.assoc.requestor.ae_title):
            self._counts.received("invalid")
            return NOT_AUTHORISED
        body = event.encoded_dataset()
        if self._is_full(len(body)):
            self._counts.received("full")
            return OUT_OF_RESOURCES
        request = event.request
        uid, sop_class = (UID(str(getattr(request, f"AffectedSOP{what}UID", ""))) for what in ("Instance", "Class"))
        if not uid.is_valid:
            self._counts.received("invalid")
            return CANNOT_UNDERSTAND
        try:
            new = self._spool.add(uid, sop_class, body)
        except (OSError, sqlite3.Error) as error:
            self._log.error("object not spooled", exc_info=error)
            self._counts.received("full")
            return OUT_OF_RESOURCES
        self._counts.received("stored" if new else "duplicate")
        self.on_received()
        return SUCCESS

    def _commitment(self, event: Event) -> tuple[int, None]:
        committed_by(event, self._spool)
        return SUCCESS, None


def committed_by(event: Event, spool: Spool) -> None:
    """Take in what an N-EVENT-REPORT says of a storage commitment (PS3.4 J.3.3)."""
    told = event.event_information
    stored = {str(item.ReferencedSOPInstanceUID) for item in told.get("ReferencedSOPSequence", None) or ()}
    failed = {str(item.ReferencedSOPInstanceUID) for item in told.get("FailedSOPSequence", None) or ()}
    spool.committed(str(told.get("TransactionUID", "")), stored, failed)


def application_entity(ae_title: str, timeout_s: float) -> AE:
    """An application entity in which every wait has a deadline."""
    entity = AE(ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    return entity
