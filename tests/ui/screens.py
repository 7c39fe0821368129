"""Screens on which the page is tested."""

from __future__ import annotations

from typing import Any

DESKTOP, PHONE = "desktop", "phone"
SCREENS: dict[str, dict[str, Any]] = {
    DESKTOP: {"viewport": {"width": 1280, "height": 720}},
    PHONE: {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
