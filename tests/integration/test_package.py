"""The package that `pip install` gets: built as a wheel, installed away from the checkout, run from any folder."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.imaging.codecs import decode, encode
from tests.hostile import photo_pixels

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for name in ("service", "model_training", "models"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "training"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    build = "from setuptools.build_meta import build_wheel; build_wheel('..')"
    built = run(sys.executable, "-c", build, cwd=sources)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


def environment(folder: Path) -> Path:
    """A new environment that shares the packages of the tests', but not their `lamegan`; returns its Python."""
    assert run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent).returncode == 0
    (packages,) = folder.glob("lib/python3*/site-packages")
    shared = [path for path in sys.path if "packages" in Path(path).name]
    (packages / "shared.pth").write_text("\n".join(dict.fromkeys([*shared, *site.getsitepackages()])))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The Python of an environment with the wheel."""
    python = environment(wheel.parent / "venv")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    done = run(*pip, wheel, cwd=wheel.parent)
    assert done.returncode == 0, done.stderr
    return python


def test_the_wheel_holds_the_default_model_and_no_checkpoint(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    models = sorted(name.split("/data/share/lamegan/models/")[-1] for name in names if "/share/" in name)
    assert len({name.rpartition("/")[0] for name in models}) == 1
    files = {name.rpartition("/")[2] for name in models}
    assert {"card.json", "model.onnx"} <= files <= {"card.json", "model.onnx", "model.int8.onnx"}
    assert not [name for name in names if name.endswith(".pt")]


@pytest.mark.parametrize("own_models", [False, True], ids=["bare folder", "folder with a models/ of another kind"])
def test_an_installed_package_enhances_from_any_folder(installed: Path, tmp_path: Path, own_models: bool) -> None:
    if own_models:
        (tmp_path / "models").mkdir()
    (tmp_path / "a.png").write_bytes(encode(photo_pixels(), "png"))
    place = "import service; print(service.__file__)"
    assert str(installed.parents[1]) in run(installed, "-c", place, cwd=tmp_path).stdout
    done = run(installed.parent / "lamegan", "enhance", "a.png", "-o", "b.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert decode((tmp_path / "b.png").read_bytes()).pixels.shape == photo_pixels().shape


def test_without_its_model_it_says_every_place_where_it_looked(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "bare", [name for name in archive.namelist() if name.startswith("service/")])
    (tmp_path / "a.png").write_bytes(encode(photo_pixels(), "png"))
    bare = f"import sys; sys.path.insert(0, {str(tmp_path / 'bare')!r})"
    start = f"{bare}; from service.commands.__main__ import main; main()"
    done = run(environment(tmp_path / "venv"), "-c", start, "enhance", "a.png", cwd=tmp_path)
    assert done.returncode != 0
    assert "No model lamegan-fast is installed. Models were looked for in " in done.stderr
    for place in (tmp_path / "models", tmp_path / "bare" / "share" / "lamegan" / "models"):
        assert str(place) in done.stderr
