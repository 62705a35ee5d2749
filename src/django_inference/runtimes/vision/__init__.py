"""What the runtimes that look at pictures share."""

from __future__ import annotations
