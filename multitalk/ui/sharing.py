"""Who may see and delete which results."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ..patches.gradio import upload_folder
from ..runtime.environment import read_flag
from .gallery import Gallery
from .result import Result

MINE, ALL = "mine", "all"


@dataclass(frozen=True)
class Sharing:
    """Access to the results.

    Attributes:
        login: Whether the page requires a login: everybody who is logged in may see and delete all results.
        shared: Without a login: whether a browser may see the results of others.
    """

    login: bool = False
    shared: bool = True


def read_sharing(login: bool, is_local: bool) -> Sharing:
    """Return the access to the results of a page.

    Args:
        login: Whether the page requires a login.
        is_local: Whether only this machine can open the page. If not, and without a login, results are
            private to their browser unless ``SHARED_GALLERY`` is set.

    Raises:
        InvalidInput: ``SHARED_GALLERY`` is neither on nor off.
    """
    return Sharing(login, read_flag("SHARED_GALLERY", default=is_local))


@dataclass(frozen=True)
class VisibleResults:
    """The results that one browser may see.

    Attributes:
        gallery: All results.
        sharing: Access to them.
        viewer: The browser (:func:`multitalk.ui.job_owner.owner_of`).
    """

    gallery: Gallery
    sharing: Sharing
    viewer: str

    @property
    def has_choice(self) -> bool:
        """Whether the browser can choose between its own and everybody's results."""
        return self.sharing.shared and not self.sharing.login

    def result(self, name: str) -> Result | None:
        """Return a result; None if there is none that the browser may see."""
        result = self.gallery.result(name)
        return result if result is not None and self._may_see(result) else None

    def find(self, whose: str, words: str, most: int) -> list[Result]:
        """Return the newest results, newest first.

        Args:
            whose: ``MINE`` or ``ALL``.
            words: Words that the title must contain; empty for all results.
            most: Maximum number of results.
        """
        words_of_search = _plain(words).split()
        found: list[Result] = []
        for result in self.gallery.iterate():
            if len(found) == most:
                break
            matches = all(word in _plain(result.title) for word in words_of_search)
            if matches and self._may_see(result) and (whose == ALL or result.owner == self.viewer):
                found.append(result)
        return found

    def may_delete(self, result: Result) -> bool:
        """Return whether the browser may delete a result."""
        return self.sharing.login or result.owner == self.viewer

    def source(self, name: str) -> Path | None:
        """Return the uploaded video that a result dubs.

        Returns:
            The file; None if the server no longer has it, or the browser may not see it: uploads are private
            to their browser, also where results are not.
        """
        result = self.result(name)
        if result is None or not result.source or not self.may_delete(result):
            return None
        path = Path(result.source).resolve()
        is_upload = path.is_relative_to(Path(upload_folder()).resolve())
        return path if is_upload and path.is_file() else None

    def _may_see(self, result: Result) -> bool:
        return self.sharing.login or self.sharing.shared or result.owner == self.viewer


def _plain(text: str) -> str:
    """Return text for a comparison without upper case, accents and compatibility forms."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
