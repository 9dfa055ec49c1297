"""The gateway's own small HTTP server: metrics, health, and the status as a page and as JSON. It changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.dicom.gateway.config import Monitor
from service.dicom.gateway.spool import Spool
from service.dicom.gateway.status import STYLE, as_page, status
from service.errors import ConfigurationError
from service.monitoring.gateway_metrics import GatewayMetrics
from service.monitoring.metrics import METRICS_MEDIA_TYPE

Answer = tuple[str, Callable[[], bytes]]

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
REQUEST_TIMEOUT_S = 10


class MonitorServer:
    """Answers GET until it is stopped."""

    def __init__(self, options: Monitor, spool: Spool, metrics: GatewayMetrics) -> None:
        """Bind.

        Raises:
            ConfigurationError: the port is taken.
        """
        answers: dict[str, Answer] = {
            "/metrics": (METRICS_MEDIA_TYPE, metrics.exposition),
            "/gateway": ("text/html; charset=utf-8", lambda: as_page(status(spool))),
            "/gateway.json": ("application/json", lambda: json.dumps(status(spool)).encode()),
            "/gateway.css": ("text/css", lambda: STYLE),
            "/health/live": ("application/json", lambda: b'{"status": "live"}'),
        }
        try:
            self._server = ThreadingHTTPServer((options.host, options.port), _handler(answers))
        except OSError as error:
            raise ConfigurationError(f"Port {options.port} of {options.host} cannot be listened on.") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(answers: dict[str, Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version, sys_version = "lamegan-gateway", ""

        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            body = found[1]() if found else b"There is nothing here; see /gateway and /metrics.\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", found[0] if found else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            for name, value in SECURITY_HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not logged: they come every few seconds and say nothing."""

    return Handler
