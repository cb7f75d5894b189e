"""Standard streams that never end a command: what cannot be encoded is escaped, and what nobody can receive is dropped."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import TextIO

# Of standard input, output and error.
STANDARD_DESCRIPTORS = (0, 1, 2)


class _LastingFile(io.FileIO):
    """A file that goes on as the null device where the pipe, the terminal or the disk behind it is gone."""

    def write(self, data: object) -> int:
        while True:
            try:
                count = super().write(data)  # type: ignore[arg-type]
            except OSError:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.fileno())
                os.close(null)
                continue
            if count is not None:
                return count
            select.select([], [self], [])  # not blocking, and full: a terminal that another program has changed


def make_streams_lasting() -> None:
    """Let no print of this process fail, whatever the locale, and whether or not somebody reads.

    A stream that was replaced, as by a test or by a notebook, is left as it is but for the way it encodes.
    """
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:  # closed: else the next file that is opened would take its number, and get what is printed
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    sys.stdout = _lasting(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _lasting(sys.stderr, sys.__stderr__, 2)


def _lasting(stream: TextIO | None, original: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if stream is not original or isinstance(getattr(stream.buffer, "raw", None), _LastingFile):
        stream.reconfigure(errors="backslashreplace")
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    raw = _LastingFile(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
