"""The one place where a library error becomes a line on stderr and exit code 2."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

BAD_INPUT = 2
"""Exit code for input that squat cannot work with."""

# The class that carries wrong options and arguments; typer exports only its subclass.
_UsageError: Any = typer.BadParameter.__base__
_DEBUG = "--debug"


class OneLineErrors(TyperGroup):
    """A command group that reports bad input in one line; `--debug`, anywhere on the line, shows the traceback."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """Takes `--debug` out of the line, wherever it stands, before the verbs see it."""
        debug = _DEBUG in args
        kept = [argument for argument in args if argument != _DEBUG]
        try:
            context = super().make_context(info_name, kept, *rest, **extra)
        except _UsageError as error:
            if not args:  # `squat` alone: not an error but a request for help
                raise
            _exit_with(_usage_text(error, "squat"), "squat")
        context.meta["squat.debug"] = debug
        return context

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb; ValueError, TypeError and OSError of the library are bad input, anything else is a bug."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            path = error.ctx.command_path if getattr(error, "ctx", None) else "squat"
            _exit_with(_usage_text(error, path), path)
        except BrokenPipeError:
            raise
        except (ValueError, TypeError, OSError) as error:
            if ctx.meta.get("squat.debug"):
                raise
            _exit_with(_one_line(error), f"{ctx.command_path} {ctx.invoked_subcommand or ''}".strip())


def _usage_text(error: Any, path: str) -> str:
    return f"{_join(error.format_message())} (see {path} --help)"


def _one_line(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError) and error.filename is not None and error.strerror:
        return f"{error.filename}: no such file or folder"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return _join(str(error)) or type(error).__name__


def _join(text: str) -> str:
    return " ".join(text.split())


def _exit_with(text: str, path: str) -> NoReturn:
    sys.stderr.write(f"{path}: {text}\n")
    raise typer.Exit(BAD_INPUT)
