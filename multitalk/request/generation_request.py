"""GenerationRequest: the validated description of a job.

Every front end builds one. Later stages check only what depends on the loaded weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Self

from PIL import Image
from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from ..errors import InvalidInput
from ..marks.settings import is_marked_by_default
from ..media.admission import admission
from ..media.sound import Sound
from ..media.source_video import Video
from .aliases import COMMON_NAMES, SIDES, rename_fields
from .continued import check_continued, own_size
from .fields import (
    NUMBER,
    AudioScale,
    Boxes,
    Cache,
    Choice,
    ContinuedVideo,
    DubbedVideo,
    Flag,
    IsolateVoice,
    Label,
    Loras,
    Mark,
    Masks,
    OptionalChoice,
    Picture,
    Prompt,
    Size,
    SpokenText,
    Text,
    Turns,
    Voices,
)
from .numbers import FRAMES_PER_CLIP
from .parts import Strict
from .presets import Preset
from .prompts import PromptSchedule
from .script import PAIR, PEOPLE, tagged_people
from .video_checks import check_video
from .voice_checks import check_people, check_sounds

DEFAULT_PROMPT = "A person is talking, in a calm and natural way."
# The reference's default (docs/MODEL.md, section 5).
DEFAULT_NEGATIVE_PROMPT = (
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, "
    "poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, "
    "still picture, messy background, three legs, many people in the background, walking backwards"
)


class GenerationRequest(Strict):
    """A validated job: the image or video, the speakers' audio or text, and the settings of the result.

    The constructor takes plain values (paths, bytes, numbers, lists, JSON values); the attributes hold the
    decoded ones. It also takes the common names num_inference_steps (steps), guidance_scale (text_guidance),
    audio_guidance_scale (audio_guidance), num_frames (frames_per_clip), generator_seed (seed), and height
    with width (size).

    Attributes:
        image: RGB, upright. Input: a path, the bytes of a file, or a PIL image.
        continue_from: A video that the result continues: its last frames are the motion frames of the first
            clip, and the last one the reference of the color correction. It replaces the image; with both,
            the boxes and InfiniteTalk use the image, else the video's last frame. Input: as video.
        join: With ``continue_from``: whether the file starts with that video, or contains the new part alone.
        video: A video to dub, instead of the image. Input: a path, or the bytes of a file.
        model: A name in ``multitalk.request.model_kinds``; None: InfiniteTalk for a video or for more than 30
            seconds, if the weights contain it, else the default model of the weights.
        video_timing: Which frame of the video a clip is conditioned on: "time", the one that is shown at the
            clip's start, or "frame", the one with the number of the clip's first frame, as in the reference.
        video_end: What follows the video's last frame if the audio is longer: "hold" (that frame), "loop" or
            "pingpong" (back and forth).
        length: What the result is as long as: "audio", "video", or "shortest", whichever is shorter.
        dub: "free": each clip is conditioned on one frame of the video, whose body and camera it imitates; or
            "exact": sampling starts from the video's own frames, so that the result follows them.
        strength: With dub "exact": share of the steps that are sampled, above 0 to 1; less is closer to the
            video.
        source_volume: Volume of the video's own sound under the voices, 0 to 1.
        scenes: Whether to find the cuts of the video and start a clip at each, so that none mixes two scenes.
            Fades are not found, and scenes under 0.2 seconds belong to the one before.
        audio: Audio by person, "person1" to "person4". Input: one audio file or one per person, each a path,
            the bytes of a file, or (samples, rate); of a video file, the first audio track.
        speech: Text to speech for the persons without audio. Input: a dict, or the text.
        turns: "together" or "in_order" (also "para", "add").
        isolate_voice: Whether the model hears only the voice in uploaded audio; the video plays all of it.
            "auto": if music or noise is noticeable and the weights contain a separator.
        boxes: Box of each person, (x0, y0, x1, y1) in pixels of the image, or of the video's first frame;
            default: a column of it, such as one half. A person with a box and without a voice is silent. With
            one voice and one box, everybody outside it is.
        masks: Instead of boxes: an image by person, bright where the person is, or one image whose colored
            areas on black are the people from left to right; with the image's aspect ratio. Input: as image.
        prompt: Description of the video, or several, each for a part of it: a list of
            ``{"from": seconds, "text": ...}``, or their notation (``multitalk.request.prompts``).
        negative_prompt: Description of what to avoid.
        preset: A name in ``multitalk.request.presets``; None: the default preset of the weights.
        size: "480p", "720p" (the image's aspect ratio), "480p-bucket", "720p-bucket" (the reference's table),
            "160p" (for the embedded demo weights), or (height, width), multiples of 16. Default: that of the
            video in ``continue_from`` if a result can have it, else the preset's size.
        steps: Denoising steps; None: the preset's, as for shift, text_guidance and audio_guidance.
        shift: Timestep shift.
        text_guidance: Text guidance scale; 1 is off.
        audio_guidance: Audio guidance scale; 1 is off.
        audio_scale: How strongly the audio moves a person, 0 to 2: a factor of the audio attention's output,
            the same for everybody or by person; 1 leaves it as it is.
        seed: Seed of the random numbers; -1 draws one.
        teacache: TeaCache threshold; None computes every step.
        cache: One of diffusers' caches, instead of TeaCache. Input: a dict, or the cache's name.
        apg: Whether to use adaptive projected guidance.
        color_correction: Strength of the correction towards the image's colors, 0 to 1; None: 1, but 0 for a
            video, for a single clip of MultiTalk, and with the preset "demo".
        vae: What decodes the latents: "full", the VAE, or "fast", a small decoder with less detail.
        preview: Whether to decode previews of clips with the small decoder while they are sampled.
        frames_per_clip: Frames of a clip, 4n+1.
        motion_frames: Frames that a clip shares with the previous one, 4n+1; None: the model's default, 25
            for MultiTalk and 9 for InfiniteTalk.
        max_seconds: Maximum length of the video and its audio; None: the length of the audio. If it is set,
            audio longer than ``MAX_AUDIO_SECONDS`` is cut there instead of refused.
        lora: LoRAs, added to that of the preset.
        mark: Whether the files say that they were made by AI (docs/PROVENANCE.md). The deployer may require
            it, or change the default.
        label: A visible label in a corner of the video. Input: a dict, the text, or true for "AI-generated";
            None or false: no label.

    Raises:
        pydantic.ValidationError: A field is invalid. ``multitalk.request.build.build_request`` raises an
            InvalidInput with one sentence instead.
    """

    aliases: ClassVar[Iterable[str]] = (*COMMON_NAMES, *SIDES)

    image: Picture = None
    continue_from: ContinuedVideo = None
    video: DubbedVideo = Field(default=None, validate_default=True)  # after what it excludes
    max_seconds: Annotated[float | None, NUMBER] = None  # before audio: longer audio is accepted if it is set
    audio: Voices = None
    speech: SpokenText = None
    turns: Turns = "together"
    isolate_voice: IsolateVoice = "auto"
    boxes: Boxes = None
    masks: Masks = None
    prompt: Prompt = DEFAULT_PROMPT
    negative_prompt: Text = DEFAULT_NEGATIVE_PROMPT
    model: OptionalChoice = None
    video_timing: Choice = "time"
    video_end: Choice = "hold"
    length: Choice = "audio"
    dub: Choice = "free"
    strength: Annotated[float, NUMBER] = 0.6
    source_volume: Annotated[float, NUMBER] = 0.0
    scenes: Flag = False
    join: Flag = True
    preset: OptionalChoice = None
    size: Size = "480p"
    steps: Annotated[int | None, NUMBER] = None
    shift: Annotated[float | None, NUMBER] = None
    text_guidance: Annotated[float | None, NUMBER] = None
    audio_guidance: Annotated[float | None, NUMBER] = None
    audio_scale: AudioScale = 1.0
    seed: Annotated[int, NUMBER] = 42
    teacache: Annotated[float | None, NUMBER] = None
    cache: Cache = None
    apg: Flag = False
    color_correction: Annotated[float | None, NUMBER] = None
    vae: Choice = "full"
    preview: Flag = False
    frames_per_clip: Annotated[int, NUMBER] = FRAMES_PER_CLIP
    motion_frames: Annotated[int | None, NUMBER] = None
    lora: Loras = ()
    mark: Mark = Field(default_factory=is_marked_by_default)
    label: Label = None
    _notes: tuple[str, ...] = PrivateAttr(())
    _source_sound: Sound | None = PrivateAttr(None)
    _sound_before: Sound | None = PrivateAttr(None)

    @classmethod
    def checked(cls, fields: Mapping[str, Any]) -> Self:
        """Build a request; see :meth:`.Strict.checked`."""
        # the files of a refused one are released before those of the next one are admitted
        with admission.request():
            return super().checked(fields)

    def with_warnings(self, *sentences: str) -> Self:
        """Return a copy with further warnings."""
        copy = self.model_copy()
        copy._notes = (*self._notes, *sentences)
        return copy

    def size_with(self, preset: Preset) -> str | tuple[int, int]:
        """Return the request's size if it is set, else that of the continued video or the preset's."""
        if "size" in self.model_fields_set:
            return self.size
        own = None if self.continue_from is None else own_size(self.continue_from, preset)
        return preset.size if own is None else own

    @property
    def picture(self) -> Image.Image:
        """The image, the first frame of the video, or the last frame of the continued video."""
        if self.image is not None:
            return self.image
        if self.video is not None:
            return self.video.picture
        assert self.continue_from is not None, "one of them is set"
        return self.continue_from.last_picture

    @property
    def picture_size(self) -> tuple[int, int]:
        """(width, height) of :attr:`picture`, without decoding a video's last frame."""
        video = self.video or self.continue_from
        if self.image is not None or video is None:
            return self.picture.size
        return video.picture.size

    @property
    def shown_video(self) -> Video | None:
        """The video that is in the file, changed or not: the one to dub, or a joined one to continue."""
        return self.video or (self.continue_from if self.join else None)

    @property
    def is_composite(self) -> bool:
        """Whether a video is in the file, changed or not, that AI did not make as a whole."""
        return self.shown_video is not None and not self.shown_video.origin.is_generated

    @property
    def prompts(self) -> PromptSchedule:
        """The prompt of each clip."""
        return PromptSchedule.of(self.prompt)

    @property
    def source_sound(self) -> Sound | None:
        """Sound of the video, if it is kept."""
        return self._source_sound

    @property
    def sound_before(self) -> Sound | None:
        """Sound of the continued video, if it is kept or heard by the model."""
        return self._sound_before

    @property
    def people(self) -> int:
        """Number of people that the model tells apart: 1 without boxes, masks and other people."""
        placed = self.boxes or self.masks
        return max(len(self.named_people), 2) if placed else len(self.named_people)

    @property
    def named_people(self) -> tuple[str, ...]:
        """Everybody who has a voice, a box or a mask, person1 first."""
        named = {*(self.audio or {}), *self.spoken, *(self.boxes or {}), *(self.masks or {})}
        return tuple(person for person in PEOPLE if person in named)

    @property
    def speaking(self) -> tuple[str, ...]:
        """Everybody who has a voice, person1 first."""
        return tuple(person for person in PEOPLE if person in (self.audio or {}) or person in self.spoken)

    @property
    def spoken(self) -> tuple[str, ...]:
        """Speakers whose audio is made from ``speech``: the tagged ones, else the first one without audio."""
        if self.speech is None:
            return ()
        tagged = tagged_people(self.speech.text)
        return tagged or (PAIR[1] if PAIR[0] in (self.audio or {}) else PAIR[0],)

    @property
    def audio_scales(self) -> tuple[float, ...]:
        """The scale of the audio of everybody that the model tells apart."""
        scales = self.audio_scale
        if not isinstance(scales, dict):
            return (scales,) * self.people
        named = [scales.get(person, 1.0) for person in self.named_people]
        return (*named, *[1.0] * (self.people - len(named)))  # everybody outside the only box

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was lost when the request was read, one sentence each."""
        sounds = [*(self.audio or {}).values()]
        sounds += [sound for sound in (self.source_sound, self.sound_before) if sound is not None]
        videos = [video for video in (self.video, self.continue_from) if video is not None]
        of_videos = (warning for video in videos for warning in video.warnings)
        return (*self._notes, *of_videos, *(warning for sound in sounds for warning in sound.warnings))

    @classmethod
    def _rename(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return rename_fields(data)

    @model_validator(mode="wrap")
    @classmethod
    def _admit(cls, data: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        with admission.request():
            return read(data)

    @model_validator(mode="after")
    def _check_together(self) -> GenerationRequest:
        if self.motion_frames is not None and self.motion_frames >= self.frames_per_clip:
            raise InvalidInput(
                f"motion_frames must be less than frames_per_clip ({self.frames_per_clip}), "
                f"not {self.motion_frames}.",
                "motion_frames",
            )
        if self.cache is not None and self.teacache is not None:
            raise InvalidInput("cache and teacache cannot be used together. Set one of them.", "cache")
        self._source_sound = check_video(self)
        check_people(self)
        self._sound_before = check_continued(self)
        check_sounds(self)
        return self
