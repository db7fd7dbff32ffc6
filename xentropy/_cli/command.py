"""Runs the command, and turns every error that a user can cause into one message and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from . import arguments
from .errors import InputError
from .text import paragraph, printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default that of the process, and return the exit status."""
    if sys.stdout is None:
        _complain("standard output is closed")
        return 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack characters of the labels
    try:
        options = arguments.parse(sys.argv[1:] if argv is None else argv)
        _run(options)
        sys.stdout.flush()
    except InputError as error:
        _complain(str(error))
        return 2
    except BrokenPipeError:
        # The reader of the output has closed it. Exit quietly.
        _discard_output()
        return 128 + 13
    except OSError as error:
        _complain(f"{error.strerror or error}: {printable(error.filename or 'standard output')}")
        _discard_output()
        return 1
    except MemoryError as error:
        _complain(f"not enough memory{f' ({error})' if str(error) else ''}")
        return 1
    except KeyboardInterrupt:
        return 128 + 2
    return 0


def _run(options: arguments.argparse.Namespace) -> None:
    if options.command == "fit":
        from .fit import run

        run(options)
    else:
        from . import predict

        getattr(predict, options.command)(options)


def _complain(message: str) -> None:
    if sys.stderr is not None:
        lines = f"xentropy: error: {message}".splitlines()
        if sys.stderr.isatty():  # elsewhere a problem is a line
            lines = [paragraph(line, rest="    " if line.startswith(" ") else "  ") for line in lines]
        with suppress(OSError):
            print("\n".join(lines), file=sys.stderr)


def _discard_output() -> None:
    """Prevent the interpreter from writing at its exit what could not be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
