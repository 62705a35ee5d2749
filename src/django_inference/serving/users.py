"""Whose calls come without a row in the database."""

from __future__ import annotations

from typing import Any


class Stranger:
    """As much of a Django user as a permission looks at.

    Attributes:
        username: what it is called.
        is_staff: it may load and unload models.
        predictors: aliases that it may call; None for all.
    """

    is_active = True
    is_anonymous = False
    is_authenticated = True
    is_superuser = False
    pk: Any = None

    def __init__(
        self,
        username: str = "",
        *,
        is_staff: bool = False,
        predictors: tuple[str, ...] | None = None,
    ) -> None:
        self.username = username
        self.is_staff = is_staff
        self.predictors = predictors

    def __str__(self) -> str:
        """Its name."""
        return self.username

    def get_username(self) -> str:
        """Its name."""
        return self.username

    async def has_perm(self, permission: str, obj: Any = None) -> bool:
        """Permissions are rows in the database, and so it has none."""
        return False


class Anonymous(Stranger):
    """Anybody, where nobody asks."""

    is_anonymous = True
    is_authenticated = False
