"""Values in the messages of a queue: as text, or in a file beside it where they are long.

A broker keeps what waits in memory, and is made for messages of some kilobytes.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from typing import Any

import msgspec
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from django_inference.packing import pack, unpack

#: Where the files lie in their storage.
FOLDER = "inference/calls/"
#: A storage may lengthen a name. It never leads out of the folder: a name comes from the broker.
_NAME = re.compile(re.escape(FOLDER) + r"[\w-]+(\.[\w-]+)*")


class Parcel(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value as it travels; one of the two is set.

    Attributes:
        packed: what `packing` has written, in base64.
        file: name of the file that holds it, in the storage of the call.
    """

    packed: str = ""
    file: str = ""


class Parcels:
    """Makes and opens parcels.

    Args:
        storage: alias in `STORAGES`.
        limit: bytes of the longest value that is part of a message.
    """

    def __init__(self, storage: str, limit: int) -> None:
        self._alias = storage
        self._limit = limit

    def wrap(self, value: Any, name: str) -> Parcel:
        """Pack a value.

        Args:
            value: what a model takes or gives.
            name: of the file, should it need one; nobody can guess it.

        Raises:
            TypeError: a value is of a type that cannot travel.
            OverflowError: an integer needs more than 64 bits.
            OSError: the storage does not take it; a storage may raise anything else, too.
        """
        packed = pack(value)
        if len(packed) <= self._limit:
            return Parcel(packed=base64.b64encode(packed).decode())
        storage = storages[self._alias]
        # Of a run before this one, whose worker was killed.
        storage.delete(FOLDER + name)
        return Parcel(file=storage.save(FOLDER + name, ContentFile(packed)))

    def open(self, parcel: Parcel) -> Any:
        """Unpack a value.

        Raises:
            ValueError: it cannot be read.
            OSError: its file is gone; a storage may raise anything else, too.
        """
        if not parcel.file:
            try:
                return unpack(base64.b64decode(parcel.packed, validate=True))
            except binascii.Error as error:
                raise ValueError(f"a parcel that is not base64: {error}") from error
        if not _NAME.fullmatch(parcel.file):
            raise ValueError(f"a parcel in the file {parcel.file!r}")
        with storages[self._alias].open(parcel.file) as file:
            return unpack(file.read())

    def remove(self, parcel: Parcel) -> None:
        """Remove its file, if it has one. What cannot be removed is left."""
        if parcel.file and _NAME.fullmatch(parcel.file):
            # A storage may raise anything, and the call has its answer.
            with contextlib.suppress(Exception):
                storages[self._alias].delete(parcel.file)

    def remove_named(self, name: str) -> None:
        """Remove what `wrap` may have saved under that name."""
        self.remove(Parcel(file=FOLDER + name))
