"""The marks of one job: the only place that decides which are made, and that says so in the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InvalidInput, MultiTalkError
from . import C2PA, WATERMARK
from .identity import identity_of
from .manifest import make_manifest
from .settings import MarkSettings
from .signing import sign_file
from .tags import ai_tags


def file_tags(is_marked: bool, is_composite: bool) -> dict[str, str]:
    """Return the tags of every file of a job, also of its clips; none if it is not marked.

    Args:
        is_marked: Whether the request's files are marked.
        is_composite: Whether a video that AI did not make as a whole is in the file, changed or not.
    """
    return ai_tags(is_composite) if is_marked else {}


class JobMarks:
    """The marks of a job's files.

    Args:
        is_marked: Whether the request's files are marked.
        is_composite: Whether a video that AI did not make as a whole is in the file, changed or not.

    Attributes:
        tags: Tags of every file of the job, also of its clips.
        warnings: What the user should know about the marks, one sentence each.

    Raises:
        MultiTalkError: The certificate or the key cannot be used.
    """

    def __init__(self, is_marked: bool, is_composite: bool) -> None:
        self.warnings: list[str] = []
        self._identity = None
        self._is_composite = is_composite
        if is_marked:
            try:
                self._settings = MarkSettings.from_environment()
                self._identity = identity_of(self._settings)
            except InvalidInput as error:  # not of the request
                raise MultiTalkError(str(error)) from None
        self.tags = file_tags(is_marked, is_composite)

    def names(self, watermark: int | None) -> tuple[str, ...]:
        """Return the names of the marks that the finished video has.

        Args:
            watermark: The number in its frames; None without a watermark.
        """
        made = {C2PA: self._identity is not None, WATERMARK: watermark is not None}
        return tuple(name for name, is_made in made.items() if is_made)

    @property
    def signed_by(self) -> str | None:
        """The signer's name for people; None without a signature."""
        return None if self._identity is None else self._identity.name

    def sign(
        self,
        path: Path,
        model: str,
        license_name: str,
        settings: Mapping[str, Any],
        source: BinaryIO | None = None,
    ) -> None:
        """Add Content Credentials to the finished video; without effect if the job is not marked.

        Args:
            path: The file, which is replaced; nothing may change it afterwards.
            model: The model's name.
            license_name: License of its weights.
            settings: The settings that the file's metadata has.
            source: The video that is in the file, changed or not.

        Raises:
            MultiTalkError: The file cannot be signed.
            OSError: The file system reports an error.
        """
        if self._identity is not None:
            manifest = make_manifest(model, license_name, settings, source, self._is_composite)
            self.warnings += sign_file(path, manifest, self._identity, self._settings.time_stamps)
