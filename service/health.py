"""`lamegan health`: asks a running service whether it is ready."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from service.errors import CommandError


@dataclass(frozen=True, slots=True)
class ReadinessAnswer:
    """Whether a service is ready, and the same in words."""

    ready: bool
    words: str


def ask_readiness(url: str, timeout_s: float) -> ReadinessAnswer:
    """The answer of the service at `url`, never through a proxy.

    Raises:
        CommandError: `url` is no HTTP address.
    """
    if not url.startswith(("http://", "https://")):
        raise CommandError("The address must begin with http:// or https://.")
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/health/ready", timeout=timeout_s):
            return ReadinessAnswer(True, "ready")
    except HTTPError as error:
        with error:
            return ReadinessAnswer(False, f"not ready: {_detail(error.read())}")
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        return ReadinessAnswer(False, f"no answer: {getattr(reason, 'strerror', None) or 'timed out'}")


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "the answer is not this service's"
