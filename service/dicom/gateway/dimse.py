"""A destination that speaks DIMSE: C-STORE, then storage commitment where it is offered, else a look by C-FIND.

Source: DICOM PS3.4 annex B (storage), annex J (storage commitment push model), annex C (query).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from uuid import uuid4

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from service.dicom.gateway.config import Destination
from service.dicom.gateway.listener import application_entity, committed_by
from service.dicom.gateway.sender import Parcel, Refused, Stored, Unreachable
from service.dicom.gateway.spool import Spool
from service.dicom.served import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, STUDY_ROOT_FIND

WARNINGS = (0xB000, 0xB006, 0xB007)
"""C-STORE statuses under which the object was stored (PS3.4 B.2.3)."""

PENDING = (0xFF00, 0xFF01)
REQUEST_STORAGE_COMMITMENT = 1
PROBE_S = 3.0
COMMITMENT_PATIENCE_S = 300.0
"""How long a destination may take to answer before it is looked for by C-FIND."""


class DimseSender:
    """Sends to one DIMSE destination."""

    def __init__(self, destination: Destination, own_title: str, spool: Spool) -> None:
        self._to = destination
        self._entity = application_entity(own_title, destination.timeout_s)
        self._spool = spool
        if destination.tls:
            destination.tls.client()  # a file that cannot be used is told at the start

    def store(self, parcels: list[Parcel]) -> Stored:
        """See `Sender`."""
        answers: Stored = {}
        read = [(parcel, pydicom.dcmread(BytesIO(parcel.body))) for parcel in parcels]
        contexts = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for _, one in read}
        with self._association([build_context(*pair) for pair in sorted(contexts)[:100]]) as association:
            for parcel, dataset in read:
                answer = answers[parcel.delivery.id] = self._store_one(association, dataset)
                if isinstance(answer, Unreachable):
                    break
        return answers

    def _store_one(self, association: Association, dataset: Dataset) -> Refused | Unreachable | None:
        begun = time.monotonic()
        try:
            status = association.send_c_store(dataset)
        except ValueError:  # no context for this class or transfer syntax was accepted
            return Refused("class-not-accepted")
        except RuntimeError:  # the association is gone
            return Unreachable("association-lost")
        if "Status" not in status:
            return Unreachable("no-answer" if time.monotonic() - begun >= self._to.timeout_s else "association-lost")
        code = int(status.Status)
        return None if code == 0 or code in WARNINGS else Refused(f"status-{code:04x}")

    def confirm(self, parcels: list[Parcel]) -> dict[int, bool]:
        """See `Sender`."""
        wanted = self._to.confirm
        if wanted == "store":
            return {parcel.delivery.id: True for parcel in parcels}
        asked_before = [parcel for parcel in parcels if parcel.delivery.reason == "commitment-asked"]
        if wanted in ("auto", "commitment") and not asked_before and self._ask_commitment(parcels):
            return {}
        if wanted == "commitment" and not asked_before:
            raise Unreachable("commitment-not-offered")
        return self._look(parcels)

    def _ask_commitment(self, parcels: list[Parcel]) -> bool:
        """Ask the destination to commit itself; whether it takes the question. The response may come at any time."""
        context = build_context(STORAGE_COMMITMENT)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, self._committed)]
        try:
            with self._association([context], handlers) as association:
                question = Dataset()
                question.TransactionUID = UID(f"2.25.{uuid4().int}")
                question.ReferencedSOPSequence = Sequence([_reference(parcel) for parcel in parcels])
                ids = [parcel.delivery.id for parcel in parcels]
                self._spool.asked(ids, question.TransactionUID, time.time() + COMMITMENT_PATIENCE_S)
                status, _ = association.send_n_action(
                    question,
                    REQUEST_STORAGE_COMMITMENT,
                    STORAGE_COMMITMENT,
                    STORAGE_COMMITMENT_INSTANCE,
                )
                return "Status" in status and int(status.Status) == 0
        except (Unreachable, ValueError, RuntimeError):
            return False

    def _committed(self, event: evt.Event) -> tuple[int, None]:
        committed_by(event, self._spool)
        return 0x0000, None

    def _look(self, parcels: list[Parcel]) -> dict[int, bool]:
        found: dict[int, bool] = {}
        with self._association([build_context(STUDY_ROOT_FIND)]) as association:
            for parcel in parcels:
                found[parcel.delivery.id] = self._is_there(association, parcel)
        return found

    def _is_there(self, association: Association, parcel: Parcel) -> bool:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = parcel.address()
        there = False
        try:
            for status, identifier in association.send_c_find(query, STUDY_ROOT_FIND):
                if "Status" not in status:
                    raise Unreachable("no-answer")
                if status.Status in PENDING and identifier is not None:
                    there = there or identifier.get("SOPInstanceUID", "") == query.SOPInstanceUID
        except (ValueError, RuntimeError) as error:
            raise Unreachable("query-not-offered") from error
        return there

    @contextmanager
    def _association(
        self, contexts: list[PresentationContext], handlers: list[evt.EventHandlerType] | None = None
    ) -> Iterator[Association]:
        tls = (self._to.tls.client(), self._to.host) if self._to.tls else None
        association = self._entity.associate(
            str(self._to.host),
            int(self._to.port or 0),
            contexts=contexts,
            ae_title=str(self._to.ae_title),
            evt_handlers=handlers or [],
            tls_args=tls,  # type: ignore[arg-type]
        )
        try:
            if not association.is_established:
                raise Unreachable("rejected" if association.is_rejected else self._why_not())
            yield association
        finally:
            if association.is_established:
                association.release()

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


def _reference(parcel: Parcel) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = parcel.delivery.sop_class
    item.ReferencedSOPInstanceUID = parcel.delivery.sop_uid
    return item
