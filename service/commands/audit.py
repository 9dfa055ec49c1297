"""`lamegan audit verify`: whether the audit log is whole."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from service.errors import CommandError
from service.monitoring.audit import Audit, Head, log_files, verify


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was found, for people and machines."""

    audit: Audit

    @property
    def whole(self) -> bool:
        """Whether nothing was cut, edited, added or moved."""
        return not self.audit.faults

    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {"whole": self.whole, **asdict(self.audit)}

    def words(self) -> str:
        """A line for each fault, and one for the whole."""
        lines = [f"{fault.file}, line {fault.line}: {fault.what}" for fault in self.audit.faults]
        head = self.audit.head
        end = f"it ends with {head.number}:{head.hash}"
        count = f"{self.audit.lines} lines in {self.audit.files} files"
        return "\n".join([*lines, f"{count}: {'whole' if self.whole else 'NOT whole'}; {end}."])


def check(folder: Path, expect: str | None = None) -> AuditReport:
    """Verify the log in `folder`; `expect` is a line kept elsewhere, as number:hash.

    Raises:
        CommandError: it cannot be read, there is no log, or `expect` is not number:hash.
    """
    expected = None
    if expect is not None:
        match = re.fullmatch(r"(\d+):([0-9a-f]{64})", expect)
        if match is None:
            raise CommandError("Write the expected line as number:hash, as the service logs it.")
        expected = Head(int(match[1]), match[2])
    if not log_files(folder):
        raise CommandError(f"{folder} holds no audit log.")
    try:
        return AuditReport(verify(folder, expected))
    except OSError as error:
        raise CommandError.unreadable(folder, error) from error
    except ValueError as error:
        raise CommandError(f"{folder}: {error}.") from error
