"""Uses of huggingface_hub's internals: how it downloads.

hf_transfer (only in 0.36, which download_models.sh installs) and Xet download the pieces of a file out of
order: they are fast, but start an interrupted file again. The plain HTTP client continues it.
"""

from __future__ import annotations

PINNED = {"huggingface_hub": ("0.36.2", "1.33.0")}


def is_fast_download() -> bool:
    """Whether hf_transfer or Xet is enabled."""
    from huggingface_hub import constants

    return getattr(constants, "HF_HUB_ENABLE_HF_TRANSFER", False) or not constants.HF_HUB_DISABLE_XET


def use_plain_download() -> None:
    """Disable hf_transfer and Xet for the rest of this process: both constants are read at each download."""
    from huggingface_hub import constants

    vars(constants).update(HF_HUB_ENABLE_HF_TRANSFER=False, HF_HUB_DISABLE_XET=True)
