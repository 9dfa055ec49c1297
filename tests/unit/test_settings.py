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
