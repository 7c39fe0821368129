"""Whatever a job has in it, the parser takes it or refuses it with a sentence."""

from __future__ import annotations

import asyncio
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multitalk.errors import InvalidInput
from multitalk.request.aliases import ALIASES
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.infinitetalk_names import OWN_NAMES
from multitalk.serverless.answers import failure
from multitalk.serverless.inputs import read_request
from multitalk.serverless.worker_settings import WorkerSettings
from tests.serverless.conftest import base64_of, png, wav

IMAGE, SOUND = base64_of(png()), base64_of(wav(0.3))
FIELDS = st.sampled_from([*GenerationRequest.model_fields, *ALIASES, *sorted(OWN_NAMES), "mode"])
PARTS = st.sampled_from(["person1", "person2", "text", "voices", "language", "speed", "path", "scale"])
TEXTS = st.sampled_from(
    [
        *["data:;base64,", "data:,%", "data:image/png;base64,iVBORw0KGgo=", "/runpod-volume/../etc/x", "//"],
        *[
            "C:\\a",
            "(s1) a (s2) b",
            "clip",
            "para",
            "add",
            "480p",
            "8",
            "1e999",
            "http://127.0.0.1/",
            "http://[",
        ],
    ]
)
NUMBERS = (
    st.integers() | st.floats(allow_subnormal=False) | st.sampled_from([2**63, -(2**70), 10**400, 4, 5, 81])
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=40) | TEXTS | st.sampled_from([IMAGE, SOUND])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(PARTS | st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
BASES = st.sampled_from([{}, {"image": IMAGE}, {"image": IMAGE, "audio": SOUND}, {"image_path": IMAGE}])


@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    base=BASES,
    extra=st.dictionaries(FIELDS | st.text(max_size=10), VALUES, max_size=4),
    whole=st.none() | VALUES,
)
def test_nothing_but_invalid_input_is_ever_raised(base, extra, whole):
    job_input = {**base, **extra} if whole is None else whole
    try:
        asyncio.run(read_request(job_input, WorkerSettings()))
    except InvalidInput as refused:
        answer = failure(refused, "job")
    else:
        return
    assert answer["error"].strip()
    assert answer["error_type"] == "invalid_input"
    # as the SDK sends it: a text that isn't one would be lost on the way
    assert json.loads(json.dumps(answer, ensure_ascii=False).encode()) == answer
