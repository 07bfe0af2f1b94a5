"""Bodies that come compressed, inflated up to a limit."""

from __future__ import annotations

import zlib

_STEP = 16 * 1024
_MAX_MEMBERS = 1024


class TooLargeError(Exception):
    """A gzip body stands for more bytes than are taken."""


def inflate(body: bytes | bytearray, limit: int) -> bytes:
    """A gzip body of one or more members; what cannot be inflated counts as empty.

    Raises:
        TooLargeError: beyond `limit` bytes, of which no more than a step is ever made.
    """
    inflated = bytearray()
    position = 0
    view = memoryview(body)
    try:
        for _ in range(_MAX_MEMBERS):
            inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            while not inflater.eof:
                rest = inflater.unconsumed_tail
                if not rest:
                    rest = bytes(view[position : position + _STEP])
                    position += len(rest)
                piece = inflater.decompress(rest, _STEP)
                if not rest and not piece and not inflater.eof:
                    return b""  # cut off
                inflated += piece
                if len(inflated) > limit:
                    raise TooLargeError
            position -= len(inflater.unused_data)
            if position == len(body):
                return bytes(inflated)
    except zlib.error:
        pass
    return b""
