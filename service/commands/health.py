"""`lamegan health`: asks a running service whether it is ready."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from service.errors import CommandError

LONGEST_TIMEOUT_S = 3600.0

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (not bound: replaced)
"""What is asked where the service listens on every address."""


@dataclass(frozen=True, slots=True)
class ReadinessAnswer:
    """Whether a service is ready, and the same in words."""

    ready: bool
    words: str


def own_url(host: str, port: int) -> str:
    """The address, on this machine, of a service that binds `host` and `port`."""
    host = _LOOPBACK.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def ask_readiness(url: str, timeout_s: float) -> ReadinessAnswer:
    """The response of the service at `url`, never through a proxy.

    Raises:
        CommandError: `url` is no HTTP address, or `timeout_s` is not above 0 and at most `LONGEST_TIMEOUT_S`.
    """
    _check_address(url)
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise CommandError(f"The timeout must be above 0 and at most {LONGEST_TIMEOUT_S:.0f} seconds.")
    try:
        return _ask(f"{url.rstrip('/')}/health/ready", timeout_s)
    except OSError as error:
        reason = getattr(error, "reason", error)
        return ReadinessAnswer(False, f"no response: {_in_words(reason)}")
    except HTTPException:
        return ReadinessAnswer(False, "no response: what is there does not speak HTTP")


def _check_address(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise CommandError("The address must begin with http:// or https://.")
    try:
        parts = urlsplit(url)
        url.encode("ascii")
        (parts.hostname or "").encode("idna")
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise CommandError(f"{url} is not an address.") from error
    if not whole or not url.isprintable() or " " in url:
        raise CommandError(f"{url} is not an address.")


def _ask(url: str, timeout_s: float) -> ReadinessAnswer:
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=timeout_s):
            return ReadinessAnswer(True, "ready")
    except HTTPError as error:
        with error:
            return ReadinessAnswer(False, f"not ready: {_detail(error.read())}")


def _in_words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "timed out"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "the response is not this service's"
