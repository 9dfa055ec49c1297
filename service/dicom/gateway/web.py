"""DICOMweb: a destination that is stored to by STOW-RS and looked at by QIDO-RS, and a source that is watched.

Source: DICOM PS3.18 sections 10.5 (STOW-RS), 10.6 (QIDO-RS), 10.4 (WADO-RS).
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter

from service.dicom.gateway.config import Destination, Tls, Watch
from service.dicom.gateway.sender import Parcel, Refused, Stored, Unreachable

ALREADY_THERE = 0x0111
"""Failure Reason of a STOW-RS response: duplicate SOP instance (PS3.7 annex C.5.5)."""


STUDY_KEYS = frozenset(
    {"StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "StudyInstanceUID", "StudyID"}
    | {"PatientID", "PatientName", "ReferringPhysicianName"}
)
"""What studies are searched by. Source: PS3.18 table 10.6.1-5."""


class _WithTimeout(HTTPAdapter):
    """An adapter in which every request has a deadline."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        super().__init__()

    def send(self, *arguments: Any, **options: Any) -> Any:
        """Send with the deadline."""
        options["timeout"] = self._timeout_s
        return super().send(*arguments, **options)


def web_session(timeout_s: float, bearer_file: Path | None, tls: Tls | None) -> requests.Session:
    """A session with deadline, token and trust; proxies of the environment are not used."""
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, _WithTimeout(timeout_s))
    if bearer_file is not None:
        session.headers["Authorization"] = f"Bearer {bearer_file.read_text(encoding='ascii').strip()}"
    if tls is not None:
        session.verify = str(tls.ca) if tls.ca else True
        if tls.certificate:
            session.cert = (str(tls.certificate), str(tls.key)) if tls.key else str(tls.certificate)
    return session


class StowSender:
    """Sends to one DICOMweb destination."""

    def __init__(self, destination: Destination) -> None:
        self._to = destination
        self._session = web_session(destination.timeout_s, destination.bearer_file, destination.tls)
        self._client = DICOMwebClient(url=str(destination.url).rstrip("/"), session=self._session)
        self._client.set_http_retry_params(retry=False)

    def store(self, parcels: list[Parcel]) -> Stored:
        """See `Sender`; one request an object, so that what is said is said of that object."""
        answers: Stored = {}
        for parcel in parcels:
            try:
                answers[parcel.delivery.id] = self._store_one(parcel)
            except Unreachable as error:
                answers[parcel.delivery.id] = error
                break
        return answers

    def _store_one(self, parcel: Parcel) -> Refused | None:
        try:
            body = parcel.file.read_bytes()
        except OSError:
            return Refused("file-unreadable")
        boundary = hashlib.sha256(body).hexdigest()
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        try:
            answer = self._session.post(
                f"{str(self._to.url).rstrip('/')}/studies",
                data=head + body + f"\r\n--{boundary}--\r\n".encode(),
                headers={
                    "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                    "Accept": "application/dicom+json",
                },
            )
        except requests.RequestException as error:
            raise Unreachable(_why(error)) from error
        reasons = _reasons(answer)
        if answer.status_code in (200, 202) and reasons is None:
            raise Unreachable("nonsense-answer")
        if answer.status_code in (401, 403, 404, 408, 429) or answer.status_code >= 500:
            raise Unreachable(f"http-{answer.status_code}")
        real = [reason for reason in reasons or () if reason != ALREADY_THERE]
        if real:
            return Refused(f"status-{real[0]:04x}")
        return None if reasons or answer.status_code in (200, 202) else Refused(f"http-{answer.status_code}")

    def confirm(self, parcels: list[Parcel]) -> dict[int, bool]:
        """See `Sender`."""
        if self._to.confirm == "store":
            return {parcel.delivery.id: True for parcel in parcels}
        return {parcel.delivery.id: self._is_there(parcel) for parcel in parcels}

    def rest(self) -> None:
        """See `Sender`: connections are kept, the server ends those that it does not want."""

    def close(self) -> None:
        """See `Sender`."""
        self._session.close()

    def _is_there(self, parcel: Parcel) -> bool:
        study, series, instance = parcel.address()
        try:
            found = self._client.search_for_instances(
                study or None, (series or None) if study else None, search_filters={"SOPInstanceUID": instance}
            )
        except (requests.RequestException, ValueError) as error:
            raise Unreachable(_why(error, "no-answer-to-query")) from error
        return any(_uid(one) == instance for one in found)


class WebSource:
    """A DICOMweb server that is watched."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        session = web_session(watch.timeout_s, watch.bearer_file, watch.tls)
        self._client = DICOMwebClient(url=watch.url.rstrip("/"), session=session)
        self._client.set_http_retry_params(retry=False)

    def find(self) -> list[tuple[str, str, str, str]]:
        """Study, series, SOP instance and SOP class UID of what the query finds.

        Raises:
            Unreachable: the server does not answer.
        """
        query = dict(self._watch.query)
        try:
            if query.keys() <= STUDY_KEYS:  # not every server (Orthanc) matches these where instances are asked for
                studies = [_value(study, "0020000D") for study in self._client.search_for_studies(search_filters=query)]
                found = [one for study in studies for one in self._instances(study, {})]
            else:
                found = self._instances(None, query)
            return [_address(one) for one in found]
        except (requests.RequestException, ValueError) as error:
            raise Unreachable(_why(error, "no-answer-to-query")) from error
        except (AttributeError, TypeError, KeyError) as error:  # it is JSON, but not DICOM's
            raise Unreachable("nonsense-answer") from error

    def _instances(self, study: str | None, query: dict[str, Any]) -> list[dict[str, Any]]:
        fields = ["SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"]
        return self._client.search_for_instances(study, search_filters=query, fields=fields)

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        """One object as a file.

        Raises:
            Unreachable: the server does not answer, or with something else.
        """
        try:
            dataset: Dataset = self._client.retrieve_instance(study, series, instance)
            buffer = BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
        except Exception as error:  # a server may answer anything; whatever it is, it is not the object
            raise Unreachable("no-object") from error
        return buffer.getvalue()


def _reasons(answer: requests.Response) -> list[int] | None:
    """Failure Reasons that a STOW-RS response gives; None if it is not what a DICOMweb server says."""
    kind = answer.headers.get("content-type", "").lower()
    if "html" in kind:  # a proxy's page for people
        return None
    if not answer.content or "xml" in kind:
        return []
    try:
        failed = answer.json().get("00081198", {}).get("Value", [])
        return [int(one["00081197"]["Value"][0]) for one in failed]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def _why(error: Exception, otherwise: str = "no-connection") -> str:
    """The reason code of a request that failed."""
    if isinstance(error, requests.exceptions.SSLError):
        return "tls"
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "no-answer"
    return "no-connection" if isinstance(error, requests.exceptions.ConnectionError) else otherwise


def _address(found: dict[str, Any]) -> tuple[str, str, str, str]:
    return _value(found, "0020000D"), _value(found, "0020000E"), _uid(found), _value(found, "00080016")


def _uid(found: dict[str, Any]) -> str:
    return _value(found, "00080018")


def _value(found: dict[str, Any], tag: str) -> str:
    values = found.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""
