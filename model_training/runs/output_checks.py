"""Where a command writes: refused before its work if that cannot be, not after it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from service.errors import CommandError


def require_apart(out: Path, source: Path) -> None:
    """Refuses to write into the folder whose photos are read: the next run would take what was written for photos.

    Raises:
        CommandError: `source` is a folder, and `out` is it or lies below it.
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise CommandError(
            f"{out} is in {source}, which is searched for photos, also below; name a folder elsewhere with --out."
        )


def require_writable(folder: Path) -> None:
    """Refuses a folder that cannot be made or written into; leaves nothing behind.

    Raises:
        CommandError: it cannot.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError.unwritable(folder, error) from error
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


def require_writable_file(path: Path) -> None:
    """Refuses a file that cannot be written; leaves it as it is.

    Raises:
        CommandError: it cannot.
    """
    require_writable(path.parent)
    if not path.exists():
        return
    try:
        path.open("ab").close()
    except OSError as error:
        raise CommandError.unwritable(path, error) from error
