"""What keeps a server from listening, whichever transport it serves."""

from __future__ import annotations


class CannotListen(Exception):
    """The server cannot be had at that address, or not with these certificates."""
