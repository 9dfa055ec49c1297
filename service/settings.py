"""One frozen settings object, read from `LAMEGAN_*` variables; nothing reads it at import time.

Only `service.commands` and `service.composition` construct or read it; everything else is handed values. Every field
has a row in docs/settings.md (a test fails otherwise).
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import ConfigurationError
from service.vocabulary import MAX_PIXELS, Device, PolicyName, PrecisionChoice

MOST_THREADS = 256
"""More than the cores of the machines this is for; a thousand threads would only wait for one another."""

DAY_S = 86_400

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
"""As browsers write the Origin header (RFC 6454 section 6.2), letter for letter."""

_OWN_PORT = re.compile(r"http://.*:80|https://.*:443")
"""What no browser writes: the port that the scheme has anyway."""


class Settings(BaseSettings):
    """What an operator may set. Units are in the names; sizes are bytes or pixels, times seconds."""

    model_config = SettingsConfigDict(
        env_prefix="LAMEGAN_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    host: str = Field("127.0.0.1", description="Address to bind. Other than loopback needs keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to bind; 0 takes a free one.")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Serve /metrics on this port alone instead of on the main one."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics port.")
    keys_file: Path | None = Field(None, description="File of hashed keys, one a line; reloaded when it changes.")
    allow_anonymous: bool = Field(False, description="Serve other than loopback without keys.")
    protect_metrics: bool = Field(False, description="/metrics on the main port asks for a key too.")
    protect_page: bool = Field(False, description="The page and /docs ask for a key too, as a password.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins that browsers may call from, as scheme://host[:port] in lower case, separated by commas; "
        "`*` is all, empty none.",
    )
    root_path: str = Field(
        "",
        pattern=r"^((/[A-Za-z0-9._~-]+)+/?)?$",
        description="Path below which a proxy shows the service, such as /lamegan; empty: the root.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks of proxies whose X-Forwarded-Prefix is believed, separated by commas.",
    )
    rate_per_key_per_s: float = Field(
        0.0, ge=0, le=1_000_000, description="Requests a second a key may make; 0: no limit."
    )

    models_dir: Path = Field(Path("models"), description="Folder of <name>/<version>/{model.onnx, card.json}.")
    trusted_keys_file: Path | None = Field(
        None, description="Ed25519 public keys in PEM; only models that one of them signed are served. None: any model."
    )
    gateway_file: Path | None = Field(None, description="The DICOM gateway's configuration (TOML); see docs/pacs.md.")
    state_dir: Path | None = Field(
        None, description="Folder for what must outlive a restart (active.json: which model); none: models_dir."
    )
    references_dir: Path | None = Field(
        None,
        description="Folder of <name>/<version>/reference.json: this site's own score distributions, which take the "
        "place of the card's in drift metrics (`lamegan-train reference`).",
    )
    model: str = Field("lamegan-fast", description="Model served by default: name or name/version.")
    device: Device = Field("auto", description="auto takes a GPU when there is one; cuda without one is an error.")
    allow_cpu_fallback: bool = Field(False, description="With device=cuda: serve on the CPU when there is no GPU.")
    precision: PrecisionChoice = Field(
        "auto",
        description="auto runs a model's eight-bit variant on CPUs with VNNI, float32 never; int8 asks for it, float16 "
        "for the variant in half precision, on a GPU.",
    )
    cuda_graphs: bool = Field(
        False, description="On a GPU: capture what a lone photo of a warmed size needs as a CUDA graph."
    )
    tensorrt: bool = Field(
        False,
        description="On a GPU: TensorRT computes lone photos of the warmed sizes, engines kept in the state folder.",
    )
    infer_threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="Threads of one inference on the CPU, at most 256; none: 1, and by trial for a lone photo.",
    )
    max_batch: int | None = Field(None, ge=1, le=64, description="Images in one batch; none: 1 on CPU, 8 on GPU.")
    max_wait_ms: float = Field(2.0, ge=0, le=1000, description="How long a busy engine waits to fill a batch.")
    queue_capacity: int = Field(32, ge=1, description="Accepted requests waiting; one more is refused with 429.")
    workers: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="Threads that decode, score and encode, at most 256; none: the cores that a container lends.",
    )
    processes: int = Field(
        0, ge=0, le=64, description="Worker processes that enhance photos on the CPU; 0: threads of one process do."
    )
    deadline_s: float = Field(
        10.0,
        gt=0,
        le=DAY_S,
        description="From the last byte of the body to the response; later is 504, foreseeably later 429.",
    )
    body_timeout_s: float = Field(
        60.0,
        gt=0,
        le=DAY_S,
        description="Longest pause of a body; beyond so many seconds in all it must come at 4 kB/s at least.",
    )
    shutdown_grace_s: float = Field(
        20.0, gt=0, le=DAY_S, description="How long accepted work may take to finish at the end."
    )
    warm_shapes: Annotated[tuple[str, ...], NoDecode] = Field(
        ("480x272", "272x480", "361x361"), description="Sizes warmed before ready, WxH separated by commas."
    )

    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Largest request body.")
    body_memory_bytes: int = Field(
        256 * 2**20,
        ge=1024,
        description="Most bytes of all request bodies held at once, at least one of the largest; one more is refused "
        "with 429.",
    )
    max_in_flight: int = Field(
        256, ge=1, description="Requests being received or answered at once; one more is refused with 429."
    )
    max_pixels: int = Field(MAX_PIXELS, ge=4096, description="Most pixels of an image, frames counted.")
    policy: PolicyName = Field(
        "constrain", description="What happens below a threshold: annotate, constrain or withhold."
    )
    jpeg_quality: int = Field(
        95, ge=1, le=100, description="Quality of JPEG and WebP responses unless one is asked for."
    )

    audit_dir: Path | None = Field(
        None, description="Folder of the audit log: a hash-chained line for each enhanced photo; none: no audit log."
    )
    audit_max_bytes: int = Field(64 * 2**20, ge=4096, description="Size at which the audit log begins a new file.")
    audit_required: bool = Field(
        True, description="While the audit log cannot be written, photos are refused with 503; false: they are served."
    )
    otel_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+",
        description="OTLP/HTTP collector that traces are sent to (extra `otel`), such as http://collector:4318; none: "
        "where OpenTelemetry's own variables say, or no traces.",
    )
    otel_exemplars: bool = Field(
        False, description="With traces: /metrics in OpenMetrics, latency buckets with the id of a trace."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("cors_origins", "trusted_proxies", "warm_shapes"):
            if isinstance(text := values.get(name), str):
                values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
        return values

    @field_validator("cors_origins")
    @classmethod
    def _origins_can_match(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if origins != ("*",) and not all(_ORIGIN.fullmatch(one) and not _OWN_PORT.fullmatch(one) for one in origins):
            raise ValueError(
                "write each origin as browsers do, scheme://host or scheme://host:port in lower case, without a path "
                "or the scheme's own port; or * alone"
            )
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for one in proxies:
            try:
                ip_network(one, strict=False)
            except ValueError as error:
                raise ValueError("write each as an address or a network, such as 10.0.0.0/8") from error
        return proxies

    @model_validator(mode="after")
    def _the_largest_body_can_be_held(self) -> Self:
        if self.body_memory_bytes < self.max_body_bytes:
            raise ValueError(
                f"LAMEGAN_BODY_MEMORY_BYTES ({self.body_memory_bytes}) is below LAMEGAN_MAX_BODY_BYTES "
                f"({self.max_body_bytes}), so a body of the largest size could never be taken"
            )
        return self

    @model_validator(mode="after")
    def _protection_reaches_the_metrics(self) -> Self:
        if self.protect_metrics and self.metrics_port is not None:
            raise ValueError(
                "LAMEGAN_PROTECT_METRICS does not reach metrics on a port of their own (LAMEGAN_METRICS_PORT): "
                "set one of the two"
            )
        return self

    @model_validator(mode="after")
    def _open_addresses_need_keys(self) -> Self:
        if not is_loopback(self.host) and self.keys_file is None and not self.allow_anonymous:
            raise ValueError(
                f"binding {self.host} without keys is refused: set LAMEGAN_KEYS_FILE, or LAMEGAN_ALLOW_ANONYMOUS=true"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(**overrides: object) -> Settings:
    """Settings from the environment, `overrides` first; those that are None are left out.

    Raises:
        ConfigurationError: a value is outside its range, or the values contradict each other.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks each
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        name = f"LAMEGAN_{field.upper()}: " if field else ""
        raise ConfigurationError(f"{name}{first['msg'].removeprefix('Value error, ')}.") from error


def warm_sizes(settings: Settings) -> list[tuple[int, int]]:
    """(height, width) of each size to warm.

    Raises:
        ConfigurationError: one is not WIDTHxHEIGHT with sides of at least 64.
    """
    sizes = []
    for shape in settings.warm_shapes:
        width, _, height = shape.partition("x")
        if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 64):
            raise ConfigurationError("LAMEGAN_WARM_SHAPES: write sizes as 480x272, each side at least 64.")
        sizes.append((int(height), int(width)))
    return sizes
