"""Serving below a path of a proxy's, such as https://clinic.example/lamegan/: where that prefix comes from.

A prefix is set by the operator, or told by a trusted proxy in X-Forwarded-Prefix. A request may bear it in its path
(the proxy passes it on) or not (the proxy takes it off): both are served alike, and all that the service says of
its own addresses bears the prefix or is relative.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from service.api.request_context import Scope, header

PREFIX_KEY = "lamegan.prefix"
BARE_KEY = "lamegan.bare"
"""Set where a request named the prefix without its last slash: relative links would miss it."""

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class SubPath:
    """Finds the prefix of a request and takes it off its path."""

    def __init__(self, root_path: str = "", trusted: Iterable[str] = ()) -> None:
        """`root_path` is the operator's, which wins; `trusted` are addresses or networks of proxies."""
        self._root = root_path.rstrip("/")
        self._trusted = tuple(ip_network(one, strict=False) for one in trusted)

    def enter(self, scope: Scope) -> Scope:
        """The scope as if the service were at the root; `prefix_of` knows the prefix from then on."""
        prefix = self._root or self._told(scope)
        if not prefix:
            return scope
        path: str = scope["path"]
        inner = path.removeprefix(prefix) if path == prefix or path.startswith(prefix + "/") else path
        return {**scope, "path": inner or "/", PREFIX_KEY: prefix, BARE_KEY: inner == ""}

    def _told(self, scope: Scope) -> str:
        told = (header(scope, b"x-forwarded-prefix") or "").split(",")[0].strip().rstrip("/")
        return told if told and _PREFIX.fullmatch(told) and self._trusts(scope) else ""

    def _trusts(self, scope: Scope) -> bool:
        client = scope.get("client")
        try:
            address = ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self._trusted)


def prefix_of(scope: Scope) -> str:
    """The prefix that a request came by, without a slash at its end; empty at the root."""
    prefix: str = scope.get(PREFIX_KEY, "")
    return prefix


def is_bare(scope: Scope) -> bool:
    """Whether the request named the prefix without its last slash."""
    return bool(scope.get(BARE_KEY, False))
