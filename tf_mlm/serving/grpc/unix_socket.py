"""The Unix socket of one server: a living one is not taken over, none but one's own is removed.

gRPC binds by removing whatever socket has the name, and removes it again when it stops, whoever has it by
then. So it is given a name of its own beside the one wanted, and the socket is then renamed. Standard library
only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable


def _answers(path: str) -> bool:
    """Whether some process listens on a socket file."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # busy, or not ours to ask
            return True
    return True


class UnixSocket:
    """The file of a listening socket.

    Args:
        path: its name.
        listen: listens on the name that it is given.

    Raises:
        OSError: the name is taken by a living server, or by a file that is no socket.
    """

    def __init__(self, path: str, listen: Callable[[str], object]) -> None:
        self._path = path
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise FileExistsError("the file is there already, and is no socket")
            if _answers(path):
                raise FileExistsError("another process listens there")
        own = os.path.join(os.path.dirname(path), f".{os.getpid()}")
        listen(own)
        try:
            status = os.stat(own)
            self._identity = status.st_dev, status.st_ino
            os.rename(own, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(own)
            raise

    def remove(self) -> None:
        """Removes the file if it is still this socket's."""
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(self._path)
            if (status.st_dev, status.st_ino) == self._identity:
                os.unlink(self._path)
