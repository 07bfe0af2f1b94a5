"""What a gRPC client is told of an error: its status code and its message."""

from __future__ import annotations

import grpc

from tf_mlm.serving.errors import Code

_STATUS = {status.value[0]: status for status in grpc.StatusCode}
_MAX_MESSAGE = 1024
_MAX_MESSAGE_BYTES = 4096


def status_code(code: Code) -> grpc.StatusCode:
    """The same code as gRPC's own.

    Example:
        >>> from tf_mlm.serving.errors import Code
        >>> from tf_mlm.serving.grpc.status import status_code
        >>> status_code(Code.NOT_FOUND)
        <StatusCode.NOT_FOUND: (5, 'not found')>
    """
    return _STATUS[int(code)]


def status_message(message: str) -> str:
    """Error texts are cut at 1024 characters, or sooner, so that they fit HTTP/2 headers.

    There a byte outside ASCII takes three, and clients break a stream whose headers are beyond 8 KiB.

    Example:
        >>> from tf_mlm.serving.grpc.status import status_message
        >>> status_message("x" * 2000)[-15:], len(status_message("\N{PILE OF POO}" * 1024))
        ('xxx...TRUNCATED', 353)
    """
    message = message.encode("utf-8", "replace").decode()
    short, room = message[:_MAX_MESSAGE], _MAX_MESSAGE_BYTES
    for end, character in enumerate(short):
        room -= 1 if character.isascii() else 3 * len(character.encode())
        if room < 0:
            short = short[:end]
            break
    return message if len(short) == len(message) else short + "...TRUNCATED"
