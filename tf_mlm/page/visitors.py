"""Who may ask: the page itself, from an address that belongs to this server.

A page of somebody else, open in the same browser, can send requests here. It gives itself away: by its own
`Origin`, or, where its name has been pointed at this machine (DNS rebinding), by that name in `Host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::\d{1,5})?", re.ASCII)
_OWN_SITES = ("same-origin", "none")


class Visitors:
    """Tells the page's own requests from others.

    Args:
        host: the address that the server listens on.

    Example:
        >>> from tf_mlm.page.visitors import Visitors
        >>> visitors = Visitors("127.0.0.1")
        >>> visitors.refusal({"host": "localhost:8600", "origin": "http://localhost:8600"}) is None
        True
        >>> visitors.refusal({"host": "localhost:8600", "origin": "http://evil.example"})[:24]
        'The Origin of a request '
    """

    def __init__(self, host: str) -> None:
        self._host = host.strip("[]").lower()
        self._is_loopback = is_loopback(self._host)

    def refusal(self, headers: Mapping[str, str], *, asks: bool = True) -> str | None:
        """Why a request is refused; None for one of ours.

        Args:
            headers: by lower-case name.
            asks: whether it is for more than a file, which another page may link to but not read.
        """
        host = headers.get("host", "")
        if not self._knows(host):
            return (
                "The Host of a request must be an address of this page's server, by which nobody else's name "
                f"can be meant. Received: {host[:100]!r}. Open the page by the address that `tf-mlm page` "
                "prints; with --host NAME it answers to that name too."
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            return f"The Origin of a request must be this page's own. Received: {origin[:100]!r}."
        site = headers.get("sec-fetch-site", "none")
        if asks and site not in _OWN_SITES:
            return f"Only this page may ask its server. Received: a request from a page that is {site[:20]}."
        return None

    def _knows(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match["six"] or match["name"]).lower()
        if name == "localhost" or name == self._host:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # No name can be pointed at a number; but who listens on loopback only is asked there only.
        return address.is_loopback or not self._is_loopback


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    Example:
        >>> from tf_mlm.page.visitors import is_loopback
        >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.com")]
        [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
