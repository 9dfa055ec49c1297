"""`lamegan serve`: uvicorn around the service, and an end that finishes what was accepted."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import uvicorn

from service.api.http_protocol import HttpProtocol
from service.composition import Service
from service.errors import ConfigurationError, LameganError
from service.monitoring.logs import configure_logs, get_logger
from service.settings import Settings

BACKLOG = 2048
"""Connections that may wait to be taken; the kernel's own limit is often lower."""

KEEP_ALIVE_S = 65
"""Longer than the 60 s after which the usual proxies close an idle connection, so that we never close it first."""


def serve(settings: Settings) -> None:
    """Serve until told to stop (SIGTERM, SIGINT).

    Raises:
        LameganError: the service cannot start, or no model can be served.
    """
    configure_logs(settings.log_level, settings.log_format)
    failures: list[LameganError] = []
    server: Server | None = None

    def give_up(error: LameganError) -> None:
        failures.append(error)
        if server is not None:
            server.should_exit = True

    service = Service(settings, give_up)
    server = Server(service, settings)
    with listening(settings) as listener, metrics_port(service, settings):
        server.run(sockets=[listener])
    if failures:
        raise failures[0]


class Server(uvicorn.Server):
    """uvicorn, which at the first signal answers 503 to new work until what was accepted is done."""

    def __init__(self, service: Service, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                service.app,
                http=HttpProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
            )
        )
        self._service = service
        self._grace_s = settings.shutdown_grace_s
        self._draining_since: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and reload the models at SIGHUP from then on."""
        self._loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
            self._loop.add_signal_handler(signal.SIGHUP, self._service.reload)
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: stop at once."""
        if self._draining_since is None and self.started:
            self._draining_since = time.monotonic()
            self._loop.call_soon_threadsafe(self._drain)  # locks may be held by what the signal interrupted
        else:
            super().handle_exit(sig, frame)

    def _drain(self) -> None:
        self._service.drain()
        get_logger("lamegan.service").info("shutting down", under_way=self._service.gate.in_flight)

    async def on_tick(self, counter: int) -> bool:
        """Stop once nothing is under way any more, or the grace is over."""
        if self._draining_since is not None:
            over = time.monotonic() - self._draining_since > self._grace_s
            self.should_exit = self.should_exit or over or self._service.gate.in_flight == 0
        return await super().on_tick(counter)


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """A bound socket, and one log line that says where; bound before models load, so a taken port is told at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as opened:
            listener = opened.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            opened.pop_all()  # until here, a socket that cannot be bound is closed
    except OSError as error:
        raise ConfigurationError(f"{settings.host}:{settings.port} cannot be bound: {error.strerror}.") from error
    host, port = listener.getsockname()[:2]
    get_logger("lamegan.service").info("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def metrics_port(service: Service, settings: Settings) -> Iterator[None]:
    """Serves /metrics on its own port during the block, where the settings ask for one."""
    stop: Callable[[], None] = lambda: None  # noqa: E731
    if settings.metrics_port is not None:
        try:
            stop = service.metrics.serve(settings.metrics_host, settings.metrics_port)
        except OSError as error:
            raise ConfigurationError(
                f"The metrics port {settings.metrics_port} cannot be bound: {error.strerror}."
            ) from error
    try:
        yield
    finally:
        stop()
