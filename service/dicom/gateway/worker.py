"""The gateway's threads: one or more that enhance, one for each destination, one that watches.

Each step ends in one commit of the spool; a crash repeats at most the step that was under way, and repeating it gives
the same objects under the same UIDs.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from service.dicom.answer import ObjectEnhancer
from service.dicom.gateway.config import Destination, GatewayConfig, Work
from service.dicom.gateway.rows import Delivery, Item, SpooledObject
from service.dicom.gateway.sender import Parcel, Sender, Unreachable
from service.dicom.gateway.spool import Spool
from service.dicom.gateway.web import WebSource
from service.dicom.identity import is_own_output
from service.dicom.source import read_dataset, uids_of
from service.errors import BadRequest, LameganError, UnsupportedType
from service.monitoring.logs import get_logger
from service.pipeline import EnhanceOptions
from service.vocabulary import Policy

IDLE_S = 0.5
"""How long an idle thread waits before it looks at the spool again (another process may have changed it)."""

BATCH = 20
"""Objects sent in one association."""


class Counts(Protocol):
    """What the threads count."""

    def judged(self, lassim: float, model_digest: str, verdict: str) -> None:
        """One object was enhanced."""

    def finished(self, outcome: str) -> None:
        """One object came to an outcome: enhanced, forwarded, kept, dead, retried."""

    def delivered(self, destination: str, outcome: str) -> None:
        """One delivery: stored, confirmed, refused, dead."""

    def reached(self, destination: str, *, up: bool) -> None:
        """Whether a destination, or `watch`, could be reached the last time."""


class Loop:
    """A thread that does `step` again and again; it idles when there was nothing to do, and survives its errors."""

    def __init__(self, name: str, step: Callable[[], bool], idle_s: float = IDLE_S) -> None:
        self._step, self._idle_s = step, idle_s
        self._stopped, self._woken = threading.Event(), threading.Event()
        self._log = get_logger("lamegan.gateway")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def ask_to_stop(self) -> None:
        """End after the step under way."""
        self._stopped.set()
        self._woken.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            busy = False
            try:
                busy = self._step()
            except (OSError, sqlite3.Error, LameganError) as error:
                self._log.error("step failed", thread=self._thread.name, exc_info=error)
            except Exception as error:  # a fault of ours must not end the gateway
                self._log.error("step failed unexpectedly", thread=self._thread.name, exc_info=error)
            if not busy:
                self._woken.wait(self._idle_s)
                self._woken.clear()


class EnhanceStep:
    """Takes the oldest received object through the Enhancer."""

    def __init__(self, spool: Spool, enhancer: ObjectEnhancer, config: GatewayConfig, counts: Counts) -> None:
        self._spool, self._enhancer, self._config, self._counts = spool, enhancer, config, counts
        self._log = get_logger("lamegan.gateway")

    def __call__(self) -> bool:
        """Do one object; False if nothing waits."""
        found = self._spool.next_received()
        if found is None:
            return False
        work = self._config.work
        try:
            body = self._spool.body(found.id)
            if is_own_output(read_dataset(body)):
                self._aside(found, work.own_output, "own-output")
            else:
                self._enhance(found, body, work)
        except UnsupportedType as error:
            self._aside(found, work.unserved, error.code)
        except BadRequest as error:
            self._die(found, error.code)
        except (LameganError, OSError, MemoryError) as error:
            self._again(found, error.code if isinstance(error, LameganError) else type(error).__name__)
        return True

    def _enhance(self, found: SpooledObject, body: bytes, work: Work) -> None:
        options = EnhanceOptions(policy=Policy(work.policy) if work.policy else None, model=work.model)
        answer = self._enhancer.enhance(body, options, None, datetime.fromtimestamp(found.received_at, UTC))
        verdict = answer.worst.judgement.verdict.value
        items: dict[Item, bytes] = {"report": answer.report}
        if answer.image is not None:
            items["image"] = answer.image
        deliveries = [
            delivery_of(destination, item, items[item] if item != "original" else body)
            for destination in self._config.destination
            for item in destination.send.items(verdict)
            if item == "original" or item in items
        ]
        self._spool.enhanced(found.id, verdict, items, deliveries)
        self._counts.judged(answer.worst.judgement.lassim, answer.worst.model_sha256, verdict)
        self._counts.finished("enhanced")
        self._log.info("object enhanced", object=found.id, verdict=verdict, model=answer.worst.model)

    def _aside(self, found: SpooledObject, rule: str, reason: str) -> None:
        if rule == "keep":
            self._spool.set_aside(found.id, "kept", reason)
            self._counts.finished("kept")
        else:
            body = self._spool.body(found.id)
            there = [one for one in self._config.destination if one.forward]
            self._spool.enhanced(found.id, "", {}, [delivery_of(one, "original", body) for one in there])
            self._counts.finished("forwarded")
        self._log.info("object not enhanced", object=found.id, reason=reason, then=rule)

    def _die(self, found: SpooledObject, reason: str) -> None:
        self._spool.set_aside(found.id, "dead", reason)
        self._counts.finished("dead")
        self._log.error("object is a dead letter", object=found.id, reason=reason)

    def _again(self, found: SpooledObject, reason: str) -> None:
        work = self._config.work
        if found.attempts + 1 >= work.most_attempts:
            self._die(found, reason)
            return
        self._spool.retry_object(found.id, reason, time.time() + work.wait_s(found.attempts))
        self._counts.finished("retried")


class SendStep:
    """Sends to one destination, and looks whether what was sent is there."""

    def __init__(self, spool: Spool, destination: Destination, sender: Sender, work: Work, counts: Counts) -> None:
        self._spool, self._to, self._sender, self._work, self._counts = spool, destination, sender, work, counts
        self._log = get_logger("lamegan.gateway")
        self._failures = 0
        self._not_before = 0.0

    def __call__(self) -> bool:
        """Do one batch; False if nothing is due, or the destination is given time."""
        if time.monotonic() < self._not_before:
            return False
        due, unconfirmed = (ask(self._to.name, None, BATCH) for ask in (self._spool.due, self._spool.unconfirmed))
        if not due and not unconfirmed:
            return False
        try:
            if due:
                self._send(self._parcels(due))
            if unconfirmed:
                self._confirm(self._parcels(unconfirmed))
        except Unreachable as error:
            self._wait(error.reason)
            return False
        self._failures = 0
        self._counts.reached(self._to.name, up=True)
        return True

    def _parcels(self, deliveries: list[Delivery]) -> list[Parcel]:
        """The deliveries with their files; one whose file cannot be read is a dead letter."""
        parcels = []
        for delivery in deliveries:
            try:
                parcels.append(Parcel(delivery, self._spool.body(delivery.object_id, delivery.item)))
            except OSError:
                self._give_up(delivery, "file-unreadable")
        return parcels

    def _send(self, parcels: list[Parcel]) -> None:
        answers = self._sender.store(parcels) if parcels else {}
        for parcel in parcels:
            if parcel.delivery.id not in answers:
                continue
            refusal = answers[parcel.delivery.id]
            if refusal is None:
                self._spool.sent(parcel.delivery.id)
                self._counts.delivered(self._to.name, "stored")
            else:
                self._refused(parcel.delivery, refusal.reason)

    def _confirm(self, parcels: list[Parcel]) -> None:
        for delivery_id, there in (self._sender.confirm(parcels) if parcels else {}).items():
            (delivery,) = (parcel.delivery for parcel in parcels if parcel.delivery.id == delivery_id)
            if there:
                self._spool.confirmed(delivery_id)
                self._counts.delivered(self._to.name, "confirmed")
                self._log.info("delivery confirmed", object=delivery.object_id, item=delivery.item, to=self._to.name)
            else:
                self._refused(delivery, "not-found")

    def _refused(self, delivery: Delivery, reason: str) -> None:
        self._counts.delivered(self._to.name, "refused")
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
        self._log.warning("destination not reached", to=self._to.name, reason=reason, next_try_s=round(wait_s, 1))


class WatchStep:
    """Fetches what the watched server has and the spool does not know."""

    def __init__(self, spool: Spool, source: WebSource, most: int, least_free_bytes: int, counts: Counts) -> None:
        self._spool, self._source, self._most, self._counts = spool, source, most, counts
        self._least_free = least_free_bytes
        self.on_received: Callable[[], None] = lambda: None

    def __call__(self) -> bool:
        """One round; always False: the next round has its time."""
        try:
            found = [one for one in self._source.find() if one[2] and not self._spool.knows(one[2])]
            for study, series, instance, sop_class in found[: self._most]:
                if self._spool.free_bytes() < self._least_free:
                    break
                self._spool.add(instance, sop_class, self._source.fetch(study, series, instance))
                self.on_received()
        except Unreachable:
            self._counts.reached("watch", up=False)
            return False
        self._counts.reached("watch", up=True)
        return False


def delivery_of(destination: Destination, item: Item, body: bytes) -> Delivery:
    """A delivery of `item` that is not in the spool yet."""
    sop_class, sop_uid = uids_of(body)
    return Delivery(0, 0, destination.name, item, sop_class, sop_uid, "pending", 0, "")
