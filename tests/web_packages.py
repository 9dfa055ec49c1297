"""The npm packages that tests drive, installed from tests/web/package-lock.json when first needed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "web"
INSTALL_S = 600


def node_modules() -> Path:
    """tests/web/node_modules as the lock file says; installed once, whichever test asks first."""
    modules, lock = FOLDER / "node_modules", FOLDER / "package-lock.json"
    stamp = modules / ".installed"
    assert shutil.which("npm"), "npm is not installed (make system)"
    with (FOLDER / ".lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != lock.read_text():
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=FOLDER, check=True, timeout=INSTALL_S
            )
            stamp.write_text(lock.read_text())
    return modules


def bundle(entry: str, out: Path) -> Path:
    """tests/web/`entry` with all that it imports as one script for a browser."""
    subprocess.run(
        [node_modules() / ".bin" / "esbuild", entry, "--bundle", "--log-level=error", f"--outfile={out}"],
        cwd=FOLDER,
        check=True,
        timeout=INSTALL_S,
    )
    return out
