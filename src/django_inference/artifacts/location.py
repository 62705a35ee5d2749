"""What `MODEL` may say: a path, a Django storage, a Django cache, or a URL."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

#: What is Django's own, and which of its settings holds the aliases.
OF_DJANGO = {"storage": "STORAGES", "cache": "CACHES"}
WEB = ("http", "https")

#: Unpacked when they come from elsewhere. A path on this disk is taken as it is.
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")

#: memcached takes 250 characters, of which Django's prefix and the name of a chunk need some.
MAX_KEY = 150

# Two letters at least: `C:` is a drive.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+._-]+)(?=::|://)")
_PART = re.compile(r"(?s)(\w[\w+.-]*)://([^/?#]*@)?([^?#]*)(.*)")
_WEB_FILE = re.compile(r"(?is)https?://[^/?#]+/[^?#]*[^/?#]([?#].*)?")
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")


class Location(NamedTuple):
    """Where an artifact lies.

    Attributes:
        text: as `MODEL` says it.
        scheme: `storage`, `cache`, that of the URL, or empty for a path on this disk.
        alias: of `STORAGES` or `CACHES`; empty for anything else.
        path: in the storage or on the disk, the key in the cache, or the whole URL.
    """

    text: str
    scheme: str
    alias: str
    path: str

    @property
    def is_remote(self) -> bool:
        """Whether the files have to be fetched before they can be loaded."""
        return bool(self.scheme)

    @property
    def name(self) -> str:
        """The last part of the path, which says what kind of file it is."""
        path = self.path
        if _URL.match(path):
            path = unquote(re.split(r"[?#]", path.split("::")[0])[0])
        return path.rstrip("/").rpartition("/")[2]

    @property
    def is_archive(self) -> bool:
        """Whether the name is that of a file which is unpacked."""
        return self.is_remote and self.name.lower().endswith(ARCHIVES)

    @property
    def schemes(self) -> list[str]:
        """Every scheme of a URL: a chained one such as `zip://a.onnx::s3://b/c.zip` has two."""
        found = (_URL.match(part + "::") for part in self.path.split("::"))
        return [match[1].lower() for match in found if match]

    def __str__(self) -> str:
        """The text for a log, without the passwords and signatures that a URL may hold."""
        if not _URL.match(self.path):
            return self.text
        return "::".join(map(_without_secrets, self.path.split("::")))


def locate(text: str) -> Location:
    """Read what `MODEL` says.

    Raises:
        ValueError: it begins like a storage, a cache or a URL, but names nothing.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "storage":
        alias, colon, path = rest.partition(":")
        if not colon:
            alias, path = "default", rest
        return Location(text, scheme, alias, _stored(text, alias and path))
    if colon and scheme == "cache":
        alias, slash, key = rest.partition("/")
        if not alias or not slash or not _KEY.fullmatch(key):
            raise ValueError(
                f"{text!r} names no key of a cache: write 'cache:ALIAS/key', where ALIAS is one "
                f"of CACHES and the key has 1 to {MAX_KEY} visible ASCII characters."
            )
        return Location(text, scheme, alias, key)
    if found := _URL.match(text):
        scheme = found[1].lower()
        if not text.rpartition("://")[2].strip("/"):
            raise ValueError(f"{text!r} names no file.")
        if scheme in WEB and not _WEB_FILE.fullmatch(text):
            raise ValueError(f"{text!r} names no file: write '{scheme}://host/path'.")
        return Location(text, scheme, "", text)
    return Location(text, "", "", text)


def is_remote(text: str) -> bool:
    """Whether `MODEL` names something that has to be fetched, rightly or wrongly written."""
    return text.partition(":")[0] in OF_DJANGO and ":" in text or bool(_URL.match(text))


def _stored(text: str, path: str) -> str:
    parts = path.removesuffix("/").split("/")
    if not all(parts) or {".", ".."} & {*parts}:
        raise ValueError(
            f"{text!r} names nothing in a storage: write 'storage:path/in/it' or "
            "'storage:ALIAS:path/in/it', where ALIAS is one of STORAGES."
        )
    return path


def _without_secrets(part: str) -> str:
    found = _PART.fullmatch(part)
    if found is None:
        return part
    scheme, user, path, query = found.groups("")
    # A container of Azure stands before an @, too; only a web server or a colon says password.
    hidden = "…@" if user and (":" in user or scheme.lower() in WEB) else user
    return f"{scheme}://{hidden}{path}{'?…' if query else ''}"
