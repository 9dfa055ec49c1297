"""The gateway's threads: those that enhance, one that watches; those that send are in `sending`.

Each step ends in one commit of the spool; a crash repeats at most the step that was under way, and repeating it gives
the same objects under the same UIDs.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from service.dicom.answer import ObjectEnhancer
from service.dicom.gateway.config import Destination, GatewayConfig, Work
from service.dicom.gateway.faults import FaultLog
from service.dicom.gateway.rows import Delivery, Item, SpooledObject
from service.dicom.gateway.sender import Unreachable
from service.dicom.gateway.spool import Spool
from service.dicom.gateway.web import WebSource
from service.dicom.identity import is_own_output
from service.dicom.source import read_dataset, uids_of
from service.errors import BadRequest, LameganError, UnsupportedType
from service.monitoring.logs import exception_facts, get_logger
from service.pipeline import EnhanceOptions
from service.vocabulary import Policy

IDLE_S = 0.5
"""How long an idle thread waits before it looks at the spool again (another process may have changed it)."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Counts(Protocol):
    """What the threads count."""

    def judged(self, lassim: float, model_digest: str, verdict: str) -> None:
        """One object was enhanced."""

    def finished(self, outcome: str) -> None:
        """One object came to an outcome: enhanced, forwarded, kept, dead, retried."""

    def reached(self, destination: str, *, up: bool) -> None:
        """Whether `watch` could be reached the last time."""


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
                self._log.error("step failed", thread=self._thread.name, **exception_facts(error))
            except Exception as error:  # a fault of ours must not end the gateway
                self._log.error("step failed unexpectedly", thread=self._thread.name, **exception_facts(error))
            if not busy:
                self._woken.wait(self._idle_s)
                self._woken.clear()


class EnhanceStep:
    """Takes the oldest received object through the Enhancer; several threads may call it at once."""

    def __init__(self, spool: Spool, enhancer: ObjectEnhancer, config: GatewayConfig, counts: Counts) -> None:
        self._spool, self._enhancer, self._config, self._counts = spool, enhancer, config, counts
        self._log = get_logger("lamegan.gateway")
        self._lock = threading.Lock()
        self._under_way: set[int] = set()
        self.on_enhanced: Callable[[], None] = lambda: None

    def __call__(self) -> bool:
        """Do one object; False if nothing waits."""
        with self._lock:
            found = self._spool.next_received(besides=self._under_way)
            if found is None:
                return False
            self._under_way.add(found.id)
        try:
            self._work_on(found)
        finally:
            with self._lock:
                self._under_way.discard(found.id)
        self.on_enhanced()
        return True

    def _work_on(self, found: SpooledObject) -> None:
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
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                self._wait_for_room(found)
            else:
                self._again(found, error.code if isinstance(error, LameganError) else type(error).__name__)
        except sqlite3.Error:  # of the spool, not of the object
            raise
        except Exception as error:  # a fault of ours in one object must not hold up the others
            self._log.error("object failed unexpectedly", object=found.id, **exception_facts(error))
            self._again(found, "internal-error")

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

    def _wait_for_room(self, found: SpooledObject) -> None:
        """A full disk is not the object's fault, however long it stays full."""
        self._spool.retry_object(found.id, "disk-full", time.time() + self._config.work.first_wait_s, counts=False)
        self._counts.finished("retried")
        self._log.error("no room for what was made", object=found.id)

    def _again(self, found: SpooledObject, reason: str) -> None:
        work = self._config.work
        if found.attempts + 1 >= work.most_attempts:
            self._die(found, reason)
            return
        self._spool.retry_object(found.id, reason, time.time() + work.wait_s(found.attempts))
        self._counts.finished("retried")


class WatchStep:
    """Fetches what the watched server has and the spool does not know."""

    def __init__(
        self, spool: Spool, source: WebSource, most: int, least_free_bytes: int, counts: Counts, faults: FaultLog
    ) -> None:
        self._spool, self._source, self._most, self._counts = spool, source, most, counts
        self._faults = faults
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
        except Unreachable as error:
            self._counts.reached("watch", up=False)
            self._faults.seen("watch", error.reason, lasting=True)
            return False
        self._counts.reached("watch", up=True)
        self._faults.over("watch")
        return False


def delivery_of(destination: Destination, item: Item, body: bytes) -> Delivery:
    """A delivery of `item` that is not in the spool yet."""
    sop_class, sop_uid = uids_of(body)
    return Delivery(0, 0, destination.name, item, sop_class, sop_uid, "pending", 0, "")
