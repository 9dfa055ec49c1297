"""The DIMSE side that hospitals send to: C-ECHO and C-STORE, and the responses to our own storage commitment requests.

C-STORE answers success only once the object is in the spool for good. Source: DICOM PS3.4 B.2.3 (C-STORE statuses),
PS3.7 9.1.1, PS3.8 9.3.4 (A-ASSOCIATE-RJ), PS3.4 J.3 (storage commitment).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from service.dicom.gateway.association_server import AssociationServer, refusal_of, serve
from service.dicom.gateway.associations import application_entity
from service.dicom.gateway.config import Listen
from service.dicom.gateway.faults import FaultLog
from service.dicom.gateway.spool import Spool
from service.dicom.gateway.tcp_options import prompt_handlers
from service.dicom.served import SERVED_TRANSFER_SYNTAXES, STORAGE_COMMITMENT, VERIFICATION
from service.errors import ConfigurationError
from service.monitoring.logs import exception_facts, get_logger

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
NOT_AUTHORISED = 0x0124

FIRST_WORDS_S = 10.0
"""How long a connection may be silent before it asks for an association."""

TRANSIENT, PROVIDER, CONGESTION = 0x02, 0x03, 0x01
"""A-ASSOCIATE-RJ: rejected transient, by the provider (presentation), temporary congestion."""


class Counts(Protocol):
    """What the listener counts."""

    def received(self, outcome: str) -> None:
        """One C-STORE: stored, duplicate, full, invalid."""

    def association(self, outcome: str) -> None:
        """One association: accepted, rejected, full; or a connection that became none: tls, too-many-connections."""


class Listener:
    """Listens until it is stopped."""

    def __init__(
        self,
        options: Listen,
        destinations: list[str],
        spool: Spool,
        least_free_bytes: int,
        counts: Counts,
        faults: FaultLog,
    ) -> None:
        """Prepare; `destinations` are AE titles that may call to answer about storage commitment, but not store."""
        self._options = options
        self._destinations = destinations
        self._spool = spool
        self._least_free = least_free_bytes
        self._counts = counts
        self._faults = faults
        self._log = get_logger("lamegan.gateway")
        self._server: AssociationServer | None = None
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
        entity.acse_timeout = FIRST_WORDS_S
        entity.maximum_associations = options.most_associations
        entity.require_called_aet = True
        anybody = options.allowed_calling == ("*",)
        entity.require_calling_aet = [] if anybody else [*options.allowed_calling, *self._destinations]
        entity.add_supported_context(VERIFICATION)
        entity.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), list(SERVED_TRANSFER_SYNTAXES))
        handlers: list[evt.EventHandlerType] = [
            *prompt_handlers(),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, lambda _event: self._counts.association("accepted")),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._commitment),
        ]
        try:
            tls = options.tls.server() if options.tls else None
            self._server = serve(entity, (options.host, options.port), handlers, tls)
        except OSError as error:
            raise ConfigurationError(f"Port {options.port} of {options.host} cannot be listened on.") from error
        self._server.on_refused = self._not_accepted

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
            self._faults.seen("listener", "disk-full", peer_of(event))
            event.assoc.acse.send_reject(TRANSIENT, PROVIDER, CONGESTION)

    def _rejected(self, event: Event) -> None:
        self._counts.association("rejected")
        self._faults.seen("listener", refusal_of(event), peer_of(event))

    def _not_accepted(self, reason: str, peer: str) -> None:
        """A connection that did not become an association."""
        self._counts.association(reason)
        self._faults.seen("listener", reason, peer)

    def _refused(self, event: Event, outcome: str, reason: str, status: int) -> int:
        self._counts.received(outcome)
        self._faults.seen("listener", reason, peer_of(event))
        return status

    def _store(self, event: Event) -> int:
        if not self._may_store(event.assoc.requestor.ae_title):
            return self._refused(event, "invalid", "not-allowed-to-store", NOT_AUTHORISED)
        body = event.encoded_dataset()
        if self._is_full(len(body)):
            return self._refused(event, "full", "disk-full", OUT_OF_RESOURCES)
        request = event.request
        uid, sop_class = (UID(str(getattr(request, f"AffectedSOP{what}UID", ""))) for what in ("Instance", "Class"))
        if not uid.is_valid:
            return self._refused(event, "invalid", "invalid-uid", CANNOT_UNDERSTAND)
        try:
            new = self._spool.add(uid, sop_class, body)
        except (OSError, sqlite3.Error) as error:
            self._log.error("object not spooled", **exception_facts(error))
            return self._refused(event, "full", "not-spooled", OUT_OF_RESOURCES)
        self._counts.received("stored" if new else "duplicate")
        self.on_received()
        return SUCCESS

    def _commitment(self, event: Event) -> tuple[int, None]:
        committed_by(event, self._spool)
        return SUCCESS, None


def peer_of(event: Event) -> str:
    """The network address of the other side."""
    return str(event.assoc.requestor.address)


def committed_by(event: Event, spool: Spool) -> None:
    """Take in what an N-EVENT-REPORT says of a storage commitment (PS3.4 J.3.3)."""
    told = event.event_information
    stored = {str(item.ReferencedSOPInstanceUID) for item in told.get("ReferencedSOPSequence", None) or ()}
    failed = {str(item.ReferencedSOPInstanceUID) for item in told.get("FailedSOPSequence", None) or ()}
    spool.committed(str(told.get("TransactionUID", "")), stored, failed)
