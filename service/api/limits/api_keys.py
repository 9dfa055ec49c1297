"""API keys: kept hashed in a file, several at once, reloaded when the file changes, compared in constant time.

The file has one key a line, `name:sha256`, the digest in hexadecimal; empty lines and lines that begin with # are
skipped. A key is 32 random bytes, so one round of SHA-256 is enough: there is no dictionary to try.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from service.errors import CommandError, ConfigurationError, Unauthorized

LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)

BASIC = 'Basic realm="lamegan", charset="UTF-8"'
"""The challenge of pages (RFC 7617); everything else asks for Bearer."""
_LINE = re.compile(r"^(?P<name>[A-Za-z0-9._-]{1,64}):(?P<digest>[0-9a-f]{64})$")

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    digest: bytes


def key_line(name: str) -> tuple[str, str]:
    """A fresh key, and its line for the keys file.

    Raises:
        CommandError: the name cannot stand in the file.
    """
    key = secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if _LINE.match(line) is None:
        raise CommandError("A key's name has 1 to 64 letters, digits, dots, dashes and underscores.")
    return key, line


class ApiKeys:
    """The keys of one file, followed while it changes.

    A file that is gone or emptied lets nobody in; one that cannot be understood leaves the old keys, and
    an error in the log.
    """

    def __init__(self, path: Path) -> None:
        """Read `path`.

        Raises:
            ConfigurationError: it cannot be read, holds no key, or has a malformed line.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._keys = _read(path)
        if not self._keys:
            raise ConfigurationError("The keys file holds no key.")
        self._looked = time.monotonic()
        self.fault: str | None = None

    def check(self, authorization: str | None) -> str:
        """The name of the key in an `Authorization: Bearer KEY` header.

        Raises:
            Unauthorized: absent, of another scheme, wrong or revoked.
        """
        scheme, _, key = (authorization or "").partition(" ")
        found = self._find(key)
        if scheme.lower() != "bearer" or found is None:
            raise Unauthorized("Send a valid key as Authorization: Bearer KEY.")
        return found

    def check_browser(self, authorization: str | None) -> str:
        """The name of the key in a Bearer header, or in a Basic one as the password of any user.

        A browser that opens a page can send no Bearer header; asked for Basic, it asks its user.

        Raises:
            Unauthorized: absent, wrong or revoked; its `challenge` is what makes a browser ask.
        """
        scheme, _, given = (authorization or "").partition(" ")
        key = _password(given) if scheme.lower() == "basic" else given
        found = self._find(key)
        if scheme.lower() not in ("basic", "bearer") or found is None:
            raise Unauthorized("Enter a valid key as the password; the user name is not looked at.", challenge=BASIC)
        return found

    def _find(self, key: str) -> str | None:
        self._follow_file()
        given = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        found: str | None = None
        for known in self._keys:  # every key is compared, whichever fits
            if hmac.compare_digest(known.digest, given):
                found = known.name
        return found

    def _follow_file(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        try:
            self._keys = _read(self._path) if stamp else []
        except ConfigurationError as error:  # it is read again until it can be understood
            if error.detail != self.fault:
                _log.error(
                    "The keys loaded before stay valid, revoked ones included. %s",
                    error.detail,
                )
            self.fault = error.detail
        else:
            self._stamp, self.fault = stamp, None
            _log.info("The keys file was reloaded: %d keys.", len(self._keys))


def _password(credentials: str) -> str:
    """The password in Basic `credentials` (RFC 7617 section 2); empty where they are not well formed."""
    try:
        _user, _, password = base64.b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        return ""
    return password


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> list[_Key]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise ConfigurationError(f"The keys file cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("The keys file is not plain text.") from error
    keys = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.match(line.strip())
        if match is None:
            raise ConfigurationError(f"Line {number} of the keys file is not name:sha256.")
        keys.append(_Key(match["name"], bytes.fromhex(match["digest"])))
    return keys
