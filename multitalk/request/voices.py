"""Names of voices: mixing them by weights, and which of Kokoro's are women's and men's."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..errors import InvalidInput

# Kokoro's voices. The first letter is the language, the second f for a woman and m for a man.
KOKORO_VOICES = tuple(
    """
    af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_nova af_river af_sarah af_sky
    am_adam am_echo am_eric am_fenrir am_liam am_michael am_onyx am_puck am_santa
    bf_alice bf_emma bf_isabella bf_lily bm_daniel bm_fable bm_george bm_lewis
    ef_dora em_alex em_santa ff_siwis hf_alpha hf_beta hm_omega hm_psi if_sara im_nicola
    jf_alpha jf_gongitsune jf_nezumi jf_tebukuro jm_kumo pf_dora pm_alex pm_santa
    zf_xiaobei zf_xiaoni zf_xiaoxiao zf_xiaoyi zm_yunjian zm_yunxi zm_yunxia zm_yunyang
    """.split()  # noqa: SIM905
)
# Where a language has several: those its makers grade best.
_BEST = ("af_heart", "am_adam", "bf_emma", "bm_george", "jf_alpha", "zf_xiaobei", "zm_yunjian", "hf_alpha")
_SAMPLE = "af_heart:0.6+af_bella:0.4"


def parse_mix(text: str, field: str = "speech.voices") -> dict[str, float]:
    """A voice's name, or voices mixed by weights such as ``af_heart:0.6+af_bella:0.4``.

    Args:
        text: Names joined by ``+``, each with a weight after a colon or, without one, the weight 1.
        field: What an error calls it.

    Returns:
        Weight by name, their sum 1.

    Raises:
        InvalidInput: A name is missing or a weight is no positive number.
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not name or not (0 < weight < math.inf):
            raise InvalidInput(
                f"{field} is {text[:80]!r}, but must be a voice's name, or names with positive weights "
                f"such as {_SAMPLE}.",
                "speech",
            )
        weights[name] = weights.get(name, 0.0) + weight
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def is_man(voice: str) -> bool:
    """Whether a voice of Kokoro's naming is a man's."""
    return voice[1:2] == "m"


def choose_voice(voices: Iterable[str], language: str, man: bool, other_than: str | None = None) -> str:
    """The voice of Kokoro's naming for a person who asked for none.

    Args:
        voices: Names that there are, one at least.
        language: Kokoro's letter.
        man: Whether a man's voice is wanted, which wins over the language: French has a woman's only,
            and two people must be told apart.
        other_than: A voice that is taken; used only where there is no other.
    """

    def rank(voice: str) -> tuple[bool, bool, bool, bool, str]:
        return (
            voice == other_than,
            is_man(voice) != man,
            voice[:1] != language,
            voice not in _BEST,
            voice,
        )

    return min(voices, key=rank)
