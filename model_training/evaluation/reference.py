"""A reference of a site's own photos: where it comes from, and how its versions follow each other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from service.drift.reference import SiteReference, next_version, site_reference, write_reference
from service.drift.sources import from_csv, from_prometheus
from service.errors import CommandError


def make_reference(
    out: Path,
    *,
    name: str,
    version: str | None,
    prometheus: str | None,
    csv: Path | None,
    days: int,
    model_digest: str | None,
) -> tuple[Path, SiteReference]:
    """Write out/<name>/<version>/reference.json of the last `days` in Prometheus, or of a CSV, and return both.

    Raises:
        CommandError: neither source or both are given, they hold too few photos, a CSV comes without `model_digest`,
            the version exists, or nothing can be written there.
    """
    if (prometheus is None) == (csv is None):
        raise CommandError("Give either --prometheus or --csv.")
    if csv is not None and model_digest is None:
        raise CommandError("A CSV does not say whose scores it holds: give --model-digest.")
    found = from_csv(csv) if csv else from_prometheus(str(prometheus), f"{days}d", model_digest)
    made = site_reference(
        found.by_measure,
        name=name,
        version=version or next_version(out, name),
        model_digest=model_digest or found.model_digest,
        made=datetime.now(UTC).date().isoformat(),
        source=found.source,
    )
    try:
        return write_reference(made, out), made
    except FileExistsError as error:
        raise CommandError(f"{made.label} is there already; a version never changes.") from error
    except OSError as error:
        raise CommandError.unwritable(out, error) from error
