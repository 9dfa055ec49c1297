"""Settings: documented, frozen, and refused in one sentence when they are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.errors import ConfigurationError
from service.settings import Settings, is_loopback, read_settings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def documented() -> dict[str, str]:
    """Variable and default of each row of docs/settings.md."""
    rows = re.findall(r"^\| `(LAMEGAN_[A-Z_]+)` \| (.*?) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def undocumented(settings: type[Settings]) -> set[str]:
    """Variables of `settings` that have no row."""
    return {f"LAMEGAN_{name.upper()}" for name in settings.model_fields} - documented().keys()


def test_every_setting_is_documented() -> None:
    assert undocumented(Settings) == set()


def test_a_planted_setting_without_a_row_is_found() -> None:
    class Planted(Settings):
        planted: int = 0

    assert undocumented(Planted) == {"LAMEGAN_PLANTED"}


def test_the_document_names_no_setting_that_is_gone() -> None:
    assert documented().keys() == {f"LAMEGAN_{name.upper()}" for name in Settings.model_fields}


def test_documented_defaults_are_the_real_ones() -> None:
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(default)
        if isinstance(default, bool):
            default = str(default).lower()
        written = documented()[f"LAMEGAN_{name.upper()}"].strip("`")
        assert written == ("none" if default in (None, "") else str(default)), name


def test_sizes_and_times_are_written_in_human_units_too() -> None:
    rows = {
        line.split("`")[1]: line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if "| `LAMEGAN" in line
    }
    for name, field in Settings.model_fields.items():
        if (reading := human(name, field.default)) is not None:
            assert reading in rows[f"LAMEGAN_{name.upper()}"], f"{name}: {reading}"


def human(name: str, value: object) -> str | None:
    """A size or a time as people write it; None for other settings."""
    if not isinstance(value, int | float) or name.endswith("per_s"):
        return None
    units = {"_bytes": (2**20, "MiB"), "_pixels": (10**6, "megapixels"), "_ms": (1, "ms"), "_s": (1, "s")}
    for ending, (factor, unit) in units.items():
        if name.endswith(ending):
            return f"{value / factor:g} {unit}"
    return None


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_PORT", "9000")
    monkeypatch.setenv("LAMEGAN_WARM_SHAPES", "480x272, 64x64")
    monkeypatch.setenv("LAMEGAN_CORS_ORIGINS", "https://a.example,https://b.example")
    settings = read_settings()
    assert settings.port == 9000
    assert settings.warm_shapes == ("480x272", "64x64")
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_overrides_win_unless_they_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_PORT", "9000")
    assert read_settings(port=None).port == 9000
    assert read_settings(port=1).port == 1


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "clinic.example"])
def test_an_open_address_without_keys_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="LAMEGAN_KEYS_FILE, or LAMEGAN_ALLOW_ANONYMOUS"):
        read_settings(host=host)
    assert read_settings(host=host, allow_anonymous=True).host == host
    assert read_settings(host=host, keys_file=tmp_path / "keys").host == host


def test_loopback_is_recognised() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"))


def test_a_wrong_value_is_one_sentence_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_JPEG_QUALITY", "101")
    with pytest.raises(ConfigurationError, match=r"LAMEGAN_JPEG_QUALITY: Input should be less than or equal to 100\."):
        read_settings()


def test_a_secret_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMEGAN_PORT", "s3cret")
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    assert "s3cret" not in caught.value.detail


@pytest.mark.parametrize(
    "name", ["shutdown_grace_s", "deadline_s", "body_timeout_s", "rate_per_key_per_s", "max_wait_ms"]
)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e308"])
def test_a_number_without_a_sensible_end_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LAMEGAN_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=rf"^LAMEGAN_{name.upper()}: Input should be .*\.$"):
        read_settings()


def test_every_number_of_settings_is_bounded_or_finite() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in (float, float | None):
            with pytest.raises(ConfigurationError):
                read_settings(**{name: float("inf")})


@pytest.mark.parametrize("name", ["infer_threads", "workers"])
def test_no_more_threads_than_a_machine_can_use(name: str) -> None:
    assert getattr(read_settings(**{name: 256}), name) == 256
    with pytest.raises(ConfigurationError, match=f"LAMEGAN_{name.upper()}: .* 256"):
        read_settings(**{name: 257})
    (row,) = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if f"LAMEGAN_{name.upper()}`" in line]
    assert "at most 256" in row


def test_protection_that_would_not_reach_the_metrics_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="LAMEGAN_PROTECT_METRICS does not reach"):
        read_settings(protect_metrics=True, metrics_port=9100)


def test_memory_that_cannot_hold_the_largest_body_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^LAMEGAN_BODY_MEMORY_BYTES \(.*LAMEGAN_MAX_BODY_BYTES .*\.$"):
        read_settings(body_memory_bytes=2**20)
    with pytest.raises(ConfigurationError, match="LAMEGAN_BODY_MEMORY_BYTES"):
        read_settings(max_body_bytes=2**30)
    assert read_settings(body_memory_bytes=2**20, max_body_bytes=2**20).max_body_bytes == 2**20


@pytest.mark.parametrize(
    "origins",
    [
        *("https://his.example", "http://localhost:3000", "http://[::1]:8080", "http://192.0.2.7", "*"),
        *("https://a.example:8443, app://bundle_1", "https://xn--bcher-kva.example"),
    ],
)
def test_origins_that_a_browser_sends_are_taken(origins: str) -> None:
    assert read_settings(cors_origins=origins).cors_origins == tuple(origins.split(", "))


@pytest.mark.parametrize(
    "origins",
    [
        *("http://localhost:3000/", "his.example", "HTTPS://his.example", "https://His.example", "https://", "null"),
        *("https://his.example/page", "https://his.example:443", "http://his.example:80", "https://*.his.example"),
        *("https://his.example:", "https://user@his.example", "https://bücher.example", "*,https://his.example"),
        *("https://good.example,bad.example", "https://a.example https://b.example", "https://his.example?"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_in_one_sentence(origins: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(cors_origins=origins)
    assert caught.value.detail.startswith("LAMEGAN_CORS_ORIGINS: write each origin as browsers do, scheme://host")
    assert origins not in caught.value.detail
