"""Where the model lies that comes with the program, so that it is found from any working directory."""

from __future__ import annotations

import sysconfig
from pathlib import Path

_INSIDE = Path("share", "lamegan", "models")
_ROOT = Path(__file__).resolve().parents[2]


def shipped_folders() -> list[Path]:
    """Where the program's own models may lie, in the order to look: a checkout, then where pip puts a package's data.

    pip knows three places: the environment's, the user's (`--user`), and beside the package (`--target`).
    """
    checkout = [_ROOT / "models"] if (_ROOT / "pyproject.toml").is_file() else []
    schemes = [sysconfig.get_path("data"), sysconfig.get_path("data", sysconfig.get_preferred_scheme("user"))]
    return checkout + [Path(place) / _INSIDE for place in schemes] + [_ROOT / _INSIDE]


def holds_model(folder: Path) -> bool:
    """Whether `folder` has a model card where the store looks for one."""
    return any(folder.glob("*/*/card.json"))


def default_folder(working: Path) -> Path:
    """`working` where it holds a model, else the first of the program's own folders that does, else `working`."""
    return next((folder for folder in (working, *shipped_folders()) if holds_model(folder)), working)
