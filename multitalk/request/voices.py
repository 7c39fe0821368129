"""Voice names: Kokoro's list, weighted mixes, and default voices."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

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
# Preferred voices of languages that have several: those with the best grade in Kokoro's VOICES.md.
BEST_VOICES = (
    "af_heart",
    "am_adam",
    "bf_emma",
    "bm_george",
    "jf_alpha",
    "zf_xiaobei",
    "zm_yunjian",
    "hf_alpha",
)
_EXAMPLE = "af_heart:0.6+af_bella:0.4"


def parse_mix(text: str, name: str = "speech voice") -> dict[str, float]:
    """Parse a voice name, or a weighted mix of voices such as ``af_heart:0.6+af_bella:0.4``.

    Args:
        text: Voice names joined by ``+``, each with an optional weight after a colon (default: 1).
        name: The value's name in an error.

    Returns:
        Weight by voice; the weights sum to 1.

    Raises:
        InvalidInput: A voice name is missing, or a weight is not a positive number.
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        voice, colon, number = (piece.strip() for piece in part.partition(":"))
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not voice or not (0 < weight < math.inf):
            raise InvalidInput(
                f"{name} must be a voice name, or voice names with positive weights such as {_EXAMPLE}, "
                f"not {text[:80]!r}.",
                "speech",
            )
        weights[voice] = weights.get(voice, 0.0) + weight
    total = sum(weights.values())
    return {voice: weight / total for voice, weight in weights.items()}


def is_man(voice: str) -> bool:
    """Whether a voice with a Kokoro name is male."""
    return voice[1:2] == "m"


def choose_voice(voices: Iterable[str], language: str, man: bool, other_than: Collection[str] = ()) -> str:
    """Choose a speaker's default voice among voices with Kokoro names.

    Args:
        voices: Available voices, at least one.
        language: Kokoro's language letter.
        man: Whether to prefer a male voice. This outranks the language, so that two speakers sound
            different: French has only a female voice.
        other_than: The other speakers' voices; chosen again only if there is no other.
    """

    def rank(voice: str) -> tuple[bool, bool, bool, bool, str]:
        return (
            voice in other_than,
            is_man(voice) != man,
            voice[:1] != language,
            voice not in BEST_VOICES,
            voice,
        )

    return min(voices, key=rank)
