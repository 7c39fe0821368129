"""The conditioning of each model."""

from __future__ import annotations

from .clip import ClipConditioner
from .infinitetalk import InfiniteTalkConditioner
from .multitalk import MultiTalkConditioner

# By name in multitalk/request/model_kinds.py.
CONDITIONERS: dict[str, type[ClipConditioner]] = {
    "multitalk": MultiTalkConditioner,
    "infinitetalk": InfiniteTalkConditioner,
}
