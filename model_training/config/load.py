"""How a configuration is read: presets, YAML files and ``--set`` overrides.

A YAML file may ``extends:`` a preset or another file; what it says replaces what it extends, key by key. Unknown
keys are errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from model_training.config.schema import TrainingConfig, first_place
from service.errors import ConfigurationError

PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """The presets that ship."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(source: str, overrides: Sequence[str] = ()) -> TrainingConfig:
    """The configuration of a preset's name or a YAML file, with ``key.sub=value`` overrides (values are YAML).

    Raises:
        ConfigurationError: no such preset or file, unreadable YAML, an unknown key, or a value out of range.
    """
    settings = _read(_locate(source, Path.cwd()))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not (key and equals):
            raise ConfigurationError(f"An override is written key=value, not {override!r}.")
        value = _parse(text, f"The override {override!r}")
        for part in reversed(key.split(".")):
            value = {part: value}
        settings = _merged(settings, value)
    return validated(settings, source)


def override(key: str, text: str) -> str:
    """The override that sets `key` to `text`, whatever characters that has."""
    return f"{key}={yaml.safe_dump(text, default_style=chr(34), width=math.inf)}"


def validated(settings: Mapping[str, Any], source: str) -> TrainingConfig:
    """The configuration that ``settings`` (as of ``source``) spell.

    Raises:
        ConfigurationError: an unknown key, or a value out of range; the first is named.
    """
    try:
        config = TrainingConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigurationError(
            f"The configuration {source} is wrong at {first_place(error) or 'the top'}: {error.errors()[0]['msg']}."
        ) from error
    config.warm_start()
    return config


def _locate(source: str, beside: Path) -> Path:
    path = PRESETS / f"{source}.yaml" if "/" not in source and "." not in source else beside / source
    if not path.is_file():
        names = ", ".join(preset_names())
        raise ConfigurationError(f"There is no preset or file called {source!r}; the presets are {names}.")
    return path


def _read(path: Path, chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in chain:
        raise ConfigurationError(f"The configuration {path} extends itself.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The configuration {path} cannot be read as text (UTF-8).") from error
    settings = _parse(text, str(path))
    if not isinstance(settings, dict):
        raise ConfigurationError(f"The configuration {path} must be a mapping of keys to values.")
    base = settings.pop("extends", None)
    return _merged(_read(_locate(str(base), path.parent), (*chain, path)), settings) if base else settings


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise ConfigurationError(f"{origin} is not YAML: {' '.join(str(error).split())}.") from error


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` on ``base``, mappings key by key. A generator of another name leaves the base's options behind."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            renamed = value.get("name", below.get("name")) != below.get("name")
            merged[key] = dict(value) if renamed else _merged(below, value)
        else:
            merged[key] = value
    return merged
