"""`lamegan-train`: the program; its commands are in `model_training.commands`."""

from __future__ import annotations

import errno
import io
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from model_training.commands import evaluate, guardrail, pictures, train
from model_training.commands.options import EXIT_REFUSED
from service.errors import LameganError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

app = typer.Typer(
    help="Train, compare and export LaMEGAN generators.", no_args_is_help=True, pretty_exceptions_enable=False
)
for subject in (train, pictures, evaluate, guardrail):
    app.add_typer(subject.commands)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"lamegan {version('lamegan')}\n")
        raise typer.Exit


@app.callback()
def _train(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keeps `lamegan-train` a group of commands."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line; every refusal is one sentence and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8; the error output does so
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app(arguments)
    except (LameganError, OSError) as error:
        errors.print(f"lamegan-train: {refusal(error)}", markup=False)
        raise SystemExit(EXIT_REFUSED) from None
    raise SystemExit(0)


def refusal(error: LameganError | OSError) -> str:
    """What a command that ends with `error` says: one sentence."""
    if isinstance(error, LameganError):
        return error.detail
    if error.errno in _DISK_FULL:
        return f"The disk is full ({error.strerror}); what was saved before is untouched."
    said = error.strerror or str(error) or type(error).__name__
    return f"{error.filename} cannot be used ({said})." if error.filename else f"Reading or writing failed ({said})."


if __name__ == "__main__":
    main()
