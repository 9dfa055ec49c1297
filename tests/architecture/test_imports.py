"""What importing and constructing do: they need no Unix, start no thread, and leave torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import models

ROOT = Path(__file__).parents[2]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_service_can_be_imported_where_unix_modules_are_absent() -> None:
    done = run(
        "import sys, pkgutil, importlib\n"
        "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios', 'uvloop'): sys.modules[name] = None\n"
        "import service\n"
        "for module in pkgutil.walk_packages(service.__path__, 'service.'):\n"
        "    if not module.name.startswith('service.dicom'): importlib.import_module(module.name)\n"
    )
    assert done.returncode == 0, done.stderr


def test_building_the_service_starts_no_thread(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    done = run(
        "import sys, threading\n"
        "from service.composition import Service\n"
        "from service.settings import read_settings\n"
        "before = threading.enumerate()\n"
        "service = Service(read_settings(models_dir=sys.argv[1], model='tiny', device='cpu'))\n"
        "started = [thread.name for thread in threading.enumerate() if thread not in before]\n"
        "assert not started, started\n",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
