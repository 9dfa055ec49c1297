"""The gateway's configuration file (TOML), checked when it is read."""

from __future__ import annotations

import re
import ssl
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from service.dicom.gateway.rows import Item
from service.errors import ConfigurationError

AETitle = Annotated[
    str, StringConstraints(pattern=r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$")
]
"""PS3.5 6.2: at most 16 characters of ASCII, no backslash, no space at either end."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Aside = Literal["keep", "forward"]
Verdict = Literal["pass", "constrained", "withheld"]


class _ClosedSocket(ssl.SSLSocket):
    """A socket that pynetdicom closes even where the other side is gone: it does not once `shutdown` has failed."""

    def shutdown(self, how: int) -> None:
        with suppress(OSError):
            super().shutdown(how)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tls(_Part):
    """Files of a TLS side: `certificate` and `key` show who we are, `ca` says whom alone we trust."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def server(self) -> ssl.SSLContext:
        """For listening; with `ca` the other side has to show a certificate too.

        Raises:
            ConfigurationError: a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return self._loaded(context, ssl.CERT_REQUIRED if self.ca else ssl.CERT_NONE)

    def client(self) -> ssl.SSLContext:
        """For calling; the other side's certificate has to be for the host that was called.

        Raises:
            ConfigurationError: a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is None:
            context.load_default_certs()
        return self._loaded(context, ssl.CERT_REQUIRED)

    def _loaded(self, context: ssl.SSLContext, mode: ssl.VerifyMode) -> ssl.SSLContext:
        context.sslsocket_class = _ClosedSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.ca:
                context.load_verify_locations(self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError("A TLS file of the gateway cannot be used.") from error
        context.verify_mode = mode
        return context


class Listen(_Part):
    """The DIMSE listener.

    Attributes:
        ae_title: our AE title; senders have to call it.
        host, port: where to listen.
        allowed_calling: AE titles that may send; `*` alone is anybody.
        most_associations: at once; one more is refused.
        tls: listen with TLS.
    """

    ae_title: AETitle = "LAMEGAN"
    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)
    allowed_calling: tuple[str, ...] = Field(min_length=1)
    most_associations: int = Field(10, ge=1, le=100)
    tls: Tls | None = None


class SpoolOptions(_Part):
    """The durable spool: its folder, the free space that it leaves, and how long it knows what it has done."""

    folder: Path
    least_free_bytes: int = Field(1_000_000_000, ge=0)
    remember_days: int = Field(90, ge=1)


class Work(_Part):
    """What the worker does.

    Attributes:
        policy, model: as on the command line; none: the settings'.
        unserved: objects of a class or kind that is not served: kept in the spool, or forwarded as they are.
        own_output: objects that this software made.
        threads: objects enhanced at once; without a number, as many as there are cores, at most 8.
        most_attempts: tries of one object, or refusals by one destination, before it is a dead letter.
        first_wait_s, longest_wait_s: between tries; the wait doubles.
    """

    policy: Literal["annotate", "constrain", "withhold"] | None = None
    model: str | None = None
    unserved: Aside = "keep"
    own_output: Aside = "keep"
    threads: int | None = Field(default=None, ge=1, le=64)
    most_attempts: int = Field(default=12, ge=1)
    first_wait_s: float = Field(default=5.0, gt=0)
    longest_wait_s: float = Field(default=900.0, gt=0)

    def wait_s(self, attempts: int) -> float:
        """How long to wait after so many tries."""
        return float(min(self.longest_wait_s, self.first_wait_s * 2 ** min(attempts, 20)))


class Send(_Part):
    """What a destination gets for each verdict."""

    passed: tuple[Item, ...] = Field(("image", "report"), alias="pass")
    constrained: tuple[Item, ...] = ("image", "report")
    withheld: tuple[Item, ...] = ("report",)

    def items(self, verdict: str) -> tuple[Item, ...]:
        """The items for `verdict`."""
        return {"pass": self.passed, "constrained": self.constrained}.get(verdict, self.withheld)


class Destination(_Part):
    """Where objects go.

    Attributes:
        name: in status, logs and metrics.
        kind: `dimse` needs `ae_title`, `host` and `port`; `stow` needs `url`.
        confirm: how it is made sure that they arrived: storage commitment, or a look (C-FIND, QIDO-RS); `auto` is the
            first where it is offered, else the second; `store` trusts the response to C-STORE or STOW-RS.
        bearer_file: file with the token that a DICOMweb server asks for.
        send: what goes there for each verdict.
        forward: whether it gets what is forwarded as it is.
        timeout_s: for any one response.
        tls: call with TLS (DIMSE), or its `ca` (HTTPS).
    """

    name: Name
    kind: Literal["dimse", "stow"]
    ae_title: AETitle | None = None
    host: str | None = None
    port: int | None = Field(None, ge=1, le=65535)
    url: str | None = None
    bearer_file: Path | None = None
    confirm: Literal["auto", "commitment", "look", "store"] = "auto"
    send: Send = Send()  # type: ignore[call-arg]  # its alias is a keyword
    forward: bool = True
    timeout_s: float = Field(30.0, gt=0, le=600)
    tls: Tls | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind == "dimse" and None in (self.ae_title, self.host, self.port):
            raise ValueError(f"destination {self.name} needs ae_title, host and port")
        if self.kind == "stow" and not re.match(r"https?://", self.url or ""):
            raise ValueError(f"destination {self.name} needs a url that begins with http:// or https://")
        return self


class Watch(_Part):
    """DICOMweb in: objects that a QIDO-RS query finds are fetched by WADO-RS, again and again."""

    url: str
    query: dict[str, str] = {}
    every_s: float = Field(30.0, gt=0)
    most: int = Field(100, ge=1, description="Objects fetched in one round.")
    bearer_file: Path | None = None
    timeout_s: float = Field(30.0, gt=0, le=600)
    tls: Tls | None = None


class Monitor(_Part):
    """Where /metrics, /gateway and /health are answered; nothing there asks for a key, hence loopback."""

    host: str = "127.0.0.1"
    port: int = Field(default=9112, ge=0, le=65535)


class GatewayConfig(_Part):
    """The whole file; `listen`, `watch` or both say where objects come from."""

    listen: Listen | None = None
    watch: Watch | None = None
    spool: SpoolOptions
    work: Work = Work()
    monitor: Monitor = Monitor()
    destination: tuple[Destination, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        names = [one.name for one in self.destination]
        if len(set(names)) < len(names):
            raise ValueError("two destinations have one name")
        if self.listen is None and self.watch is None:
            raise ValueError("nothing comes in: give [listen], [watch] or both")
        return self


def read_config(path: Path) -> GatewayConfig:
    """The configuration in `path`.

    Raises:
        ConfigurationError: it cannot be read, or holds what makes no sense; the first fault is named.
    """
    try:
        return GatewayConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not a TOML file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}.") from error
