"""The settings of a page's project, with time for loads where pages run side by side.

A reader's machine has nothing else to do. This one may have, and a framework is slow then.
"""

from __future__ import annotations

from typing import Any

from mysite import settings
from mysite.settings import *  # noqa: F403

#: Seconds that a call waits where the page leaves it open; a model is being loaded meanwhile.
TIMEOUT = 90.0

_declared: dict[str, Any] = getattr(settings, "INFERENCE", {})
for _predictor in _declared.values():
    if isinstance(_predictor, dict):
        _predictor.setdefault("OPTIONS", {}).setdefault("timeout", TIMEOUT)
