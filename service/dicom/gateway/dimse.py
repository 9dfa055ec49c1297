"""A destination that speaks DIMSE: C-STORE, then storage commitment where it is offered, else a look by C-FIND.

Source: DICOM PS3.4 annex B (storage), annex J (storage commitment push model), annex C (query).
"""

from __future__ import annotations

import time
from uuid import uuid4

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom import _config, evt

from service.dicom.gateway.associations import Caller, HeldAssociation, Kind, end
from service.dicom.gateway.config import Destination
from service.dicom.gateway.listener import committed_by
from service.dicom.gateway.sender import Parcel, Refused, Stored, Unreachable
from service.dicom.gateway.spool import Spool
from service.dicom.served import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, STUDY_ROOT_FIND

WARNINGS = (0xB000, 0xB006, 0xB007)
"""C-STORE statuses under which the object was stored (PS3.4 B.2.3)."""

_config.STORE_SEND_CHUNKED_DATASET = True  # files are sent byte for byte as they are, and not decoded for it

PENDING = (0xFF00, 0xFF01)
REQUEST_STORAGE_COMMITMENT = 1
COMMITMENT_PATIENCE_S = 300.0
"""How long a destination may take to answer before it is looked for by C-FIND."""


class DimseSender:
    """Sends to one DIMSE destination."""

    def __init__(self, destination: Destination, own_title: str, spool: Spool) -> None:
        self._to = destination
        self._spool = spool
        self._caller = Caller(destination, own_title)
        self._storing, self._asking = HeldAssociation(self._caller), HeldAssociation(self._caller)

    def store(self, parcels: list[Parcel]) -> Stored:
        """See `Sender`."""
        kinds = {parcel.delivery.id: _kind(parcel) for parcel in parcels}
        asked = {kind for kind in kinds.values() if kind is not None}
        answers: Stored = {one: Refused("file-unreadable") for one, kind in kinds.items() if kind is None}
        first = True
        for parcel in [one for one in parcels if kinds[one.delivery.id] is not None]:
            try:
                answer = self._store_one(parcel, asked)
                if isinstance(answer, Unreachable) and first and not self._storing.is_new:
                    answer = self._store_one(parcel, asked)  # it was closed since it was used
            except Unreachable:  # there is no association: those not sent yet are as they were
                if not answers:
                    raise
                break
            first = False
            answers[parcel.delivery.id] = answer
            if isinstance(answer, Unreachable):
                break
        return answers

    def rest(self) -> None:
        """See `Sender`."""
        self._storing.rest()
        self._asking.rest()

    def close(self) -> None:
        """See `Sender`."""
        self._storing.release()
        self._asking.release()

    def _store_one(self, parcel: Parcel, kinds: set[Kind]) -> Refused | Unreachable | None:
        association = self._storing.get(kinds)
        begun = time.monotonic()
        try:
            status = association.send_c_store(parcel.file)
        except ValueError:  # no context for this class or transfer syntax was accepted
            return Refused("class-not-accepted")
        except OSError:
            return Refused("file-unreadable")
        except RuntimeError:  # the association is gone
            status = Dataset()
        if "Status" not in status:
            self._storing.release()
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
        """Ask the destination to commit itself; whether it takes the question. The response may come at any time.

        The association is for this question alone: a response to an earlier one could be taken for that to the next.
        """
        try:
            association = self._caller.call([(STORAGE_COMMITMENT, None)], [(evt.EVT_N_EVENT_REPORT, self._committed)])
        except Unreachable:
            return False
        try:
            question = Dataset()
            question.TransactionUID = UID(f"2.25.{uuid4().int}")
            question.ReferencedSOPSequence = Sequence([_reference(parcel) for parcel in parcels])
            ids = [parcel.delivery.id for parcel in parcels]
            self._spool.asked(ids, question.TransactionUID, time.time() + COMMITMENT_PATIENCE_S)
            status, _ = association.send_n_action(
                question, REQUEST_STORAGE_COMMITMENT, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
            )
            return "Status" in status and int(status.Status) == 0
        except (ValueError, RuntimeError):
            return False
        finally:
            end(association)

    def _committed(self, event: evt.Event) -> tuple[int, None]:
        committed_by(event, self._spool)
        return 0x0000, None

    def _look(self, parcels: list[Parcel]) -> dict[int, bool]:
        found: dict[int, bool] = {}
        for parcel in parcels:
            try:
                found[parcel.delivery.id] = self._is_there(parcel)
            except Unreachable:
                was_open = not found and not self._asking.is_new
                self._asking.release()
                if not was_open:
                    raise
                found[parcel.delivery.id] = self._is_there(parcel)  # it was closed since it was used
        return found

    def _is_there(self, parcel: Parcel) -> bool:
        association = self._asking.get({(STUDY_ROOT_FIND, None)})
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


def _kind(parcel: Parcel) -> Kind | None:
    """SOP class and transfer syntax of an object, as its File Meta Information says; None if that cannot be read."""
    try:
        meta = read_file_meta_info(parcel.file)
        return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    except Exception:  # a damaged file fails to be read in nearly any way
        return None


def _reference(parcel: Parcel) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = parcel.delivery.sop_class
    item.ReferencedSOPInstanceUID = parcel.delivery.sop_uid
    return item
