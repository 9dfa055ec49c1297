"""The gateway put together: what comes in, the spool, what works on it, and where it goes."""

from __future__ import annotations

import time

from service.dicom.answer import ObjectEnhancer
from service.dicom.gateway.config import Destination, GatewayConfig
from service.dicom.gateway.dimse import COMMITMENT_PATIENCE_S, DimseSender
from service.dicom.gateway.faults import CLOCK_REASONS, DESTINATION_REASONS, LISTENER_REASONS, FaultLog
from service.dicom.gateway.listener import Listener
from service.dicom.gateway.sender import Sender
from service.dicom.gateway.sending import SendStep
from service.dicom.gateway.spool import Spool
from service.dicom.gateway.web import StowSender, WebSource
from service.dicom.gateway.worker import EnhanceStep, Loop, WatchStep
from service.engine.threads import usable_cores
from service.monitoring.gateway_metrics import GatewayMetrics

DAY_S = 86_400
HOUSEKEEPING_S = 3600.0
FAULTS_S = 1.0
MOST_THREADS = 8
"""Threads that enhance, at most, where the file says no number: memory for one object each."""


class Gateway:
    """Runs between `start` and `stop`; objects not done by then are in the spool."""

    def __init__(self, config: GatewayConfig, enhancer: ObjectEnhancer, metrics: GatewayMetrics) -> None:
        """Open the spool and put the parts together.

        Raises:
            ConfigurationError: the spool cannot be opened, or the configuration cannot be followed.
        """
        self._config = config
        self.spool = Spool(config.spool.folder, max(config.work.longest_wait_s, COMMITMENT_PATIENCE_S))
        self.spool.sweep()
        metrics.follow(self.spool)
        faults = FaultLog(self.spool, metrics.fault)
        metrics.expect_faults("clock", CLOCK_REASONS)
        metrics.expect_faults("listener", LISTENER_REASONS)
        for one in config.destination:
            metrics.expect_faults(one.name, DESTINATION_REASONS)
        free = config.spool.least_free_bytes
        step = EnhanceStep(self.spool, enhancer, config, metrics)
        threads = config.work.threads or min(usable_cores(), MOST_THREADS)
        self._enhance = [Loop(f"enhance-{number}", step) for number in range(threads)]
        self._loops = [*self._enhance, Loop("housekeeping", self._housekeep, HOUSEKEEPING_S)]
        self._loops += [Loop("faults", faults, FAULTS_S)]
        self._senders = [self._sender(one) for one in config.destination]
        self._send = [
            Loop(f"send-{one.name}", SendStep(self.spool, one, sender, config.work, metrics, faults))
            for one, sender in zip(config.destination, self._senders, strict=True)
        ]
        self._loops += self._send
        step.on_enhanced = self._wake_send
        peers = [one.ae_title for one in config.destination if one.ae_title]
        self.listener = Listener(config.listen, peers, self.spool, free, metrics, faults) if config.listen else None
        if self.listener is not None:
            self.listener.on_received = self._wake_enhance
        if config.watch is not None:
            watch = WatchStep(self.spool, WebSource(config.watch), config.watch.most, free, metrics, faults)
            watch.on_received = self._wake_enhance
            self._loops.append(Loop("watch", watch, config.watch.every_s))

    def start(self) -> None:
        """Begin with what the spool holds, then take what comes.

        Raises:
            ConfigurationError: the listener's address is taken.
        """
        if self.listener is not None:
            self.listener.start()
        for loop in self._loops:
            loop.start()

    def stop(self, grace_s: float = 20.0) -> None:
        """Take nothing new, finish the steps under way, close the spool."""
        if self.listener is not None:
            self.listener.stop()
        for loop in self._loops:
            loop.ask_to_stop()
        deadline = time.monotonic() + grace_s
        for loop in self._loops:
            loop.join(max(0.1, deadline - time.monotonic()))
        for sender in self._senders:
            sender.close()
        self.spool.close()

    def _sender(self, destination: Destination) -> Sender:
        if destination.kind == "stow":
            return StowSender(destination)
        listen = self._config.listen
        return DimseSender(destination, listen.ae_title if listen else "LAMEGAN", self.spool)

    def _wake_enhance(self) -> None:
        for loop in self._enhance:
            loop.wake()

    def _wake_send(self) -> None:
        for loop in self._send:
            loop.wake()

    def _housekeep(self) -> bool:
        self.spool.forget(time.time() - self._config.spool.remember_days * DAY_S)
        return False
