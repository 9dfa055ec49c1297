"""The threads that send, one a destination: store, then make sure that it has arrived.

Whatever a destination does is either its own trouble, which everything waits for (`Unreachable`), or said of one object
(`Refused`).
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from service.dicom.gateway.config import Destination, Work
from service.dicom.gateway.faults import FaultLog
from service.dicom.gateway.rows import Delivery
from service.dicom.gateway.sender import Parcel, Refused, Sender, Unreachable
from service.dicom.gateway.spool import Spool
from service.errors import ConfigurationError
from service.monitoring.logs import get_logger

BATCH = 20
"""Objects sent in one association."""

LOST_WAITS = 4
"""An object on which an association broke waits as if it had been refused so many times, 80 s by default."""

TOGETHER_S = 1.0

Told = TypeVar("Told")


class Counts(Protocol):
    """What these threads count."""

    def finished(self, outcome: str) -> None:
        """One object is dead."""

    def delivered(self, destination: str, outcome: str) -> None:
        """One delivery: stored, confirmed, refused, dead."""

    def reached(self, destination: str, *, up: bool) -> None:
        """Whether a destination could be reached the last time."""


class SendStep:
    """Sends to one destination, and looks whether what was sent is there."""

    def __init__(
        self, spool: Spool, destination: Destination, sender: Sender, work: Work, counts: Counts, faults: FaultLog
    ) -> None:
        self._spool, self._to, self._sender, self._work, self._counts = spool, destination, sender, work, counts
        self._faults = faults
        self._log = get_logger("lamegan.gateway")
        self._failures = 0
        self._not_before = 0.0

    def __call__(self) -> bool:
        """Do one batch; False if nothing is due, or the destination is given time."""
        if time.monotonic() < self._not_before:
            return False
        due, unconfirmed = (ask(self._to.name, None, BATCH) for ask in (self._spool.due, self._spool.unconfirmed))
        if not due and not unconfirmed:
            self._sender.rest()
            return False
        lost = self._tried(self._send, due)
        # Whatever became of sending: one object that breaks its association must not keep others unconfirmed.
        lost = self._tried(self._confirm, unconfirmed) or lost
        if lost is not None:
            self._wait(lost.reason)
            return False
        self._failures = 0
        self._counts.reached(self._to.name, up=True)
        self._faults.over(self._to.name)
        return True

    def _tried(self, step: Callable[[list[Parcel]], None], deliveries: list[Delivery]) -> Unreachable | None:
        """Take a step with what is due; why the destination could not be reached, if it could not."""
        try:
            if deliveries:
                step(self._parcels(deliveries))
        except Unreachable as error:
            return error
        return None

    def _parcels(self, deliveries: list[Delivery]) -> list[Parcel]:
        """The deliveries with their files; one whose file is not there is a dead letter."""
        parcels = [Parcel(one, self._spool.file(one.object_id, one.item)) for one in deliveries]
        for parcel in parcels:
            if not parcel.file.is_file():
                self._give_up(parcel.delivery, "file-unreadable")
        return [parcel for parcel in parcels if parcel.file.is_file()]

    def _send(self, parcels: list[Parcel]) -> None:
        """Store the parcels; where none could be, the destination is given time.

        One on which the association broke goes behind the others, so that it cannot hold them up.
        """
        answers = _asked(self._sender.store, parcels) if parcels else {}
        stored = [delivery_id for delivery_id, answer in answers.items() if answer is None]
        if stored:
            self._spool.sent(stored, self._check_at())
        lost: Unreachable | None = None
        for parcel in parcels:
            if parcel.delivery.id not in answers:
                continue
            answer = answers[parcel.delivery.id]
            if answer is None:
                self._counts.delivered(self._to.name, "stored")
            elif isinstance(answer, Refused):
                self._refused(parcel.delivery, answer.reason)
            else:
                lost = answer
                due_at = time.time() + self._work.wait_s(LOST_WAITS)
                self._spool.delay(parcel.delivery.id, answer.reason, due_at, counts=False)
        if lost is not None:
            if all(isinstance(answer, Unreachable) for answer in answers.values()):
                raise lost
            self._faults.seen(self._to.name, lost.reason)

    def _check_at(self) -> float:
        """When to ask about what was stored now: what is stored within one second is asked about together."""
        return 0.0 if self._to.confirm == "store" else math.ceil(time.time() / TOGETHER_S) * TOGETHER_S

    def _confirm(self, parcels: list[Parcel]) -> None:
        answers = _asked(self._sender.confirm, parcels) if parcels else {}
        there = [parcel.delivery for parcel in parcels if answers.get(parcel.delivery.id)]
        if there:
            self._spool.confirmed([delivery.id for delivery in there])
        for delivery in there:
            self._counts.delivered(self._to.name, "confirmed")
            self._log.info("delivery confirmed", object=delivery.object_id, item=delivery.item, to=self._to.name)
        for parcel in parcels:
            if answers.get(parcel.delivery.id) is False:
                self._refused(parcel.delivery, "not-found")

    def _refused(self, delivery: Delivery, reason: str) -> None:
        self._counts.delivered(self._to.name, "refused")
        self._faults.seen(self._to.name, reason)
        self._log.warning("delivery refused", object=delivery.object_id, to=self._to.name, reason=reason)
        if delivery.attempts + 1 >= self._work.most_attempts:
            self._give_up(delivery, reason)
        else:
            due_at = time.time() + self._work.wait_s(delivery.attempts)
            self._spool.delay(delivery.id, reason, due_at, counts=True)

    def _give_up(self, delivery: Delivery, reason: str) -> None:
        self._spool.give_up(delivery, reason)
        self._counts.delivered(self._to.name, "dead")
        self._counts.finished("dead")
        self._log.error("delivery is a dead letter", object=delivery.object_id, to=self._to.name, reason=reason)

    def _wait(self, reason: str) -> None:
        """Give the destination time; nothing counts against the objects."""
        wait_s = self._work.wait_s(self._failures)
        self._failures += 1
        self._not_before = time.monotonic() + wait_s
        self._counts.reached(self._to.name, up=False)
        self._faults.seen(self._to.name, reason, lasting=True)
        self._log.warning("destination not reached", to=self._to.name, reason=reason, next_try_s=round(wait_s, 1))


def _asked(ask: Callable[[list[Parcel]], Told], parcels: list[Parcel]) -> Told:
    """What the destination answers.

    Raises:
        Unreachable: it cannot be reached, or what it answers makes no sense.
    """
    try:
        return ask(parcels)
    except (Unreachable, sqlite3.Error):
        raise
    except ConfigurationError as error:  # a certificate that is being replaced
        raise Unreachable("tls-files") from error
    except Exception as error:  # a destination may answer anything, and libraries fail on it in nearly any way
        raise Unreachable("nonsense-answer") from error
