"""What a deployer sets by environment variables, read once and checked before anything is loaded."""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InvalidInput
from ..runtime.limits import max_audio_seconds
from .log import log_event

VOLUME = "/runpod-volume"
# RunPod drops larger results without a word; /runsync's job ids begin with "sync-".
RUN_LIMIT, RUNSYNC_LIMIT = 10_000_000, 20_000_000
RUNSYNC_PREFIX = "sync-"
WEEK = 7 * 24 * 3600  # the longest that a signed URL may last
BUCKET_REQUIRED = ("BUCKET_ENDPOINT_URL", "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY")
# Where a bucket's own host name tells its name, and perhaps its region.
BUCKET_HOSTS = (
    re.compile(r"(?P<name>.+)\.(?P<rest>s3[.-](?P<region>[a-z0-9-]+)\.amazonaws\.com)"),
    re.compile(r"(?P<name>.+)\.(?P<rest>s3\.amazonaws\.com)"),
    re.compile(r"(?P<name>.+)\.(?P<rest>(?P<region>[a-z0-9-]+)\.digitaloceanspaces\.com)"),
    re.compile(r"(?P<name>.+)\.(?P<rest>[a-f0-9]{32}\.(?:eu\.|fedramp\.)?r2\.cloudflarestorage\.com)"),
    re.compile(r"(?P<name>.+)\.(?P<rest>s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com)"),
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class BucketSettings:
    """An S3-compatible bucket.

    Attributes:
        endpoint: URL of the service, without the bucket.
        name: The bucket.
        region: None where the service has none.
        prefix: What every key begins with.
        url_seconds: How long a signed URL works.
        access_key_id, secret_access_key: The credentials.
    """

    endpoint: str
    name: str
    region: str | None
    prefix: str
    url_seconds: int
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:  # the credentials stay out of tracebacks and logs
        return f"BucketSettings({self.endpoint}, {self.name})"


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker is set up.

    Attributes:
        weights: A baked weights folder; None searches.
        input_roots: Folders whose files a job may name by path.
        output_root: Where a video is kept that can't be delivered; None where there is no such place.
        bucket: Where videos go; None answers with the video itself.
        stream_clips: Deliver each clip as soon as it is decoded.
        inline_limit: Largest answer in bytes; None leaves it to RunPod's limits.
        allowed_networks: Addresses that URLs may lead to although they aren't public.
        fitness_hashes: Compare the sha256 of every weights file on start.
        fitness_job: Run a one-step job on start.
        log_inputs: Write prompts and URLs to the log.
    """

    weights: str | None = None
    input_roots: tuple[Path, ...] = (Path(VOLUME),)
    output_root: Path | None = None
    bucket: BucketSettings | None = None
    stream_clips: bool = False
    inline_limit: int | None = None
    allowed_networks: tuple[Network, ...] = ()
    fitness_hashes: bool = False
    fitness_job: bool = True
    log_inputs: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> WorkerSettings:
        """Read the settings.

        Raises:
            InvalidInput: A variable can't be used; the sentence names it.
        """
        max_audio_seconds(environment)  # read where sounds are; a wrong one must not wait for the first job
        return cls(
            weights=environment.get("MULTITALK_WEIGHTS") or None,
            input_roots=(Path(VOLUME), *_read_folders(environment, "INPUT_ROOTS")),
            output_root=_read_output_root(environment),
            bucket=read_bucket(environment),
            stream_clips=_read_flag(environment, "STREAM_CLIPS", False),
            inline_limit=_read_megabytes(environment, "MAX_INLINE_MB"),
            allowed_networks=_read_networks(environment, "URL_ALLOWED_NETWORKS"),
            fitness_hashes=_read_flag(environment, "FITNESS_HASHES", False),
            fitness_job=_read_flag(environment, "FITNESS_JOB", True),
            log_inputs=_read_flag(environment, "LOG_INPUTS", False),
        )

    def answer_limit(self, job_id: str) -> int:
        """Bytes that the answer to a job may have before RunPod loses it."""
        if self.inline_limit is not None:
            return self.inline_limit
        return RUNSYNC_LIMIT if job_id.startswith(RUNSYNC_PREFIX) else RUN_LIMIT


def read_bucket(environment: Mapping[str, str]) -> BucketSettings | None:
    """The bucket of the ``BUCKET_*`` variables; None where none of them is set.

    Raises:
        InvalidInput: Some are missing, or can't be used.
    """
    given = {name: environment.get(name, "").strip() for name in BUCKET_REQUIRED}
    if not any(given.values()):
        return None
    if missing := [name for name, value in given.items() if not value]:
        raise InvalidInput(f"{missing[0]} is missing: a bucket needs {', '.join(BUCKET_REQUIRED)}.")
    endpoint, name, region = _split_endpoint(given["BUCKET_ENDPOINT_URL"])
    name = environment.get("BUCKET_NAME", "").strip() or name
    if not name:
        raise InvalidInput("BUCKET_NAME is missing, and BUCKET_ENDPOINT_URL doesn't tell the bucket's name.")
    prefix = environment.get("BUCKET_PREFIX", "").strip().strip("/")
    return BucketSettings(
        endpoint=endpoint,
        name=name,
        region=environment.get("BUCKET_REGION", "").strip() or region,
        prefix=f"{prefix}/" if prefix else "",
        url_seconds=_read_seconds(environment, "BUCKET_URL_SECONDS", WEEK),
        access_key_id=given["BUCKET_ACCESS_KEY_ID"],
        secret_access_key=given["BUCKET_SECRET_ACCESS_KEY"],
    )


def _split_endpoint(url: str) -> tuple[str, str, str | None]:
    """The service's URL, the bucket's name (empty where the URL has none), and its region."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, f":{parts.port}" if parts.port else ""
    except ValueError:  # brackets without an address in them, or a port that is no number up to 65535
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InvalidInput("BUCKET_ENDPOINT_URL must be a URL such as https://s3.eu-central-1.amazonaws.com.")
    if ":" in host:
        host = f"[{host}]"
    path = parts.path.strip("/")
    for pattern in BUCKET_HOSTS:
        if found := pattern.fullmatch(host):
            groups = found.groupdict()
            return f"{parts.scheme}://{groups['rest']}{port}", groups["name"], groups.get("region")
    region = re.fullmatch(r"s3[.-]([a-z0-9-]+)\.amazonaws\.com", host)
    return f"{parts.scheme}://{host}{port}", path, region[1] if region else None


def _read_flag(environment: Mapping[str, str], name: str, default: bool) -> bool:
    text = environment.get(name, "").strip().lower()
    if not text:
        return default
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise InvalidInput(f"{name} is {text[:40]!r}, but must be true or false.")


def _read_folders(environment: Mapping[str, str], name: str) -> tuple[Path, ...]:
    texts = [text.strip() for text in re.split(r"[:,]", environment.get(name, "")) if text.strip()]
    for text in texts:
        if not text.startswith("/"):
            raise InvalidInput(f"{name} has {text[:80]!r}, but must list absolute folders: /data:/more.")
    return tuple(Path(text) for text in texts)


def _read_output_root(environment: Mapping[str, str]) -> Path | None:
    text = environment.get("OUTPUT_ROOT", "").strip()
    root = Path(text or VOLUME)
    if root.is_dir() and os.access(root, os.W_OK | os.X_OK):
        return root
    if text:
        raise InvalidInput(f"OUTPUT_ROOT is {text[:80]!r}, but must be a folder that can be written to.")
    if root.is_dir():
        # RunPod's volumes belong to root, and the image runs as a user of its own
        log_event(
            "volume_not_writable",
            level=logging.WARNING,
            folder=str(root),
            user=os.geteuid(),
            advice=f"No video can be kept on {root}: set a bucket, or build the image with RUN_AS=0.",
        )
    return None


def _read_megabytes(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    megabytes = _number(text)
    if not 0 < megabytes <= 1000:
        raise InvalidInput(f"{name} is {text[:40]!r}, but must be a number of megabytes above 0.")
    return int(megabytes * 1_000_000)


def _read_seconds(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    seconds = _number(text)
    if not 1 <= seconds <= WEEK:
        raise InvalidInput(f"{name} is {text[:40]!r}, but must be from 1 to {WEEK} seconds.")
    return int(seconds)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _read_networks(environment: Mapping[str, str], name: str) -> tuple[Network, ...]:
    networks = []
    for text in filter(None, (part.strip() for part in environment.get(name, "").split(","))):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            raise InvalidInput(
                f"{name} has {text[:60]!r}, but must list networks such as 10.1.0.0/16."
            ) from None
    return tuple(networks)
