"""The worker's settings, read from environment variables and checked before anything is loaded."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InvalidInput
from ..runtime.environment import max_audio_seconds, read_flag, read_number, read_text
from .log import log_event

VOLUME = "/runpod-volume"
# RunPod silently drops larger outputs; job ids of /runsync start with "sync-".
RUN_LIMIT, RUNSYNC_LIMIT = 10_000_000, 20_000_000
RUNSYNC_PREFIX = "sync-"
WEEK = 7 * 24 * 3600  # longest lifetime of a signed URL
BUCKET_REQUIRED = ("BUCKET_ENDPOINT_URL", "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY")
# Host names that contain the bucket's name, and some its region.
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
        region: None if the service has none.
        prefix: Prefix of every key.
        url_seconds: Lifetime of a signed URL.
        access_key_id, secret_access_key: The credentials.
    """

    endpoint: str
    name: str
    region: str | None
    prefix: str
    url_seconds: int
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:  # keep credentials out of tracebacks and logs
        return f"BucketSettings({self.endpoint}, {self.name})"


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of the worker.

    Attributes:
        weights: A baked weights folder; None searches the usual places.
        input_roots: Folders from which jobs may read files by path.
        output_root: Where videos are saved that cannot be delivered; None if there is no such folder.
        bucket: Where videos are uploaded; None returns them in the output.
        bucket_retry_seconds: How long a finished video waits for a bucket that is temporarily not available;
            None: a few minutes if there is another place for it, else until the job ends.
        stream_clips: Deliver each clip as soon as it is decoded.
        inline_limit: Largest output in bytes; None uses RunPod's limits.
        allowed_networks: Non-public networks that URLs may point to.
        fitness_hashes: Compare the SHA-256 of every weights file at startup.
        fitness_job: Generate a small video at startup.
        log_inputs: Log prompts and URLs.
    """

    weights: str | None = None
    input_roots: tuple[Path, ...] = (Path(VOLUME),)
    output_root: Path | None = None
    bucket: BucketSettings | None = None
    bucket_retry_seconds: float | None = None
    stream_clips: bool = False
    inline_limit: int | None = None
    allowed_networks: tuple[Network, ...] = ()
    fitness_hashes: bool = False
    fitness_job: bool = True
    log_inputs: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> WorkerSettings:
        """Read the settings.

        Args:
            environment: Variables by name; None reads this process's.

        Raises:
            InvalidInput: A variable has an invalid value.
        """
        max_audio_seconds(environment)  # an invalid value must not wait for the first job
        megabytes = read_number("MAX_INLINE_MB", 0.0, "megabytes", maximum=1000, environment=environment)
        retry_seconds = read_number("BUCKET_RETRY_SECONDS", 0.0, "seconds", environment=environment)
        return cls(
            weights=read_text("MULTITALK_WEIGHTS", environment=environment),
            input_roots=(Path(VOLUME), *_read_folders("INPUT_ROOTS", environment)),
            output_root=_read_output_root(environment),
            bucket=read_bucket(environment),
            bucket_retry_seconds=retry_seconds or None,
            stream_clips=read_flag("STREAM_CLIPS", False, environment),
            inline_limit=int(megabytes * 1_000_000) if megabytes else None,
            allowed_networks=_read_networks("URL_ALLOWED_NETWORKS", environment),
            fitness_hashes=read_flag("FITNESS_HASHES", False, environment),
            fitness_job=read_flag("FITNESS_JOB", True, environment),
            log_inputs=read_flag("LOG_INPUTS", False, environment),
        )

    def answer_limit(self, job_id: str) -> int:
        """Return the largest output of a job in bytes that RunPod delivers."""
        if self.inline_limit is not None:
            return self.inline_limit
        return RUNSYNC_LIMIT if job_id.startswith(RUNSYNC_PREFIX) else RUN_LIMIT


def read_bucket(environment: Mapping[str, str] | None = None) -> BucketSettings | None:
    """Read the ``BUCKET_*`` variables; returns None if none of the required ones is set.

    Raises:
        InvalidInput: A variable is missing or has an invalid value.
    """
    required = {name: read_text(name, "", environment) for name in BUCKET_REQUIRED}
    if not any(required.values()):
        return None
    if missing := [name for name, value in required.items() if not value]:
        raise InvalidInput(f"{missing[0]} is missing. A bucket needs {', '.join(BUCKET_REQUIRED)}.")
    endpoint, name, region = _split_endpoint(required["BUCKET_ENDPOINT_URL"])
    name = read_text("BUCKET_NAME", name, environment)
    if not name:
        raise InvalidInput("BUCKET_NAME is missing, and BUCKET_ENDPOINT_URL does not contain a bucket name.")
    prefix = read_text("BUCKET_PREFIX", "", environment).strip("/")
    url_seconds = read_number("BUCKET_URL_SECONDS", WEEK, "seconds", maximum=WEEK, environment=environment)
    return BucketSettings(
        endpoint=endpoint,
        name=name,
        region=read_text("BUCKET_REGION", region, environment),
        prefix=f"{prefix}/" if prefix else "",
        url_seconds=max(1, int(url_seconds)),
        access_key_id=required["BUCKET_ACCESS_KEY_ID"],
        secret_access_key=required["BUCKET_SECRET_ACCESS_KEY"],
    )


def _split_endpoint(url: str) -> tuple[str, str, str | None]:
    """Split a URL into the service's URL, the bucket's name (or an empty string) and its region."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, f":{parts.port}" if parts.port else ""
    except ValueError:  # an invalid IPv6 address or port
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


def _read_folders(name: str, environment: Mapping[str, str] | None) -> tuple[Path, ...]:
    texts = [text.strip() for text in re.split(r"[:,]", read_text(name, "", environment)) if text.strip()]
    for text in texts:
        if not text.startswith("/"):
            raise InvalidInput(f"{name} must list absolute folders such as /data:/more, not {text[:80]!r}.")
    return tuple(Path(text) for text in texts)


def _read_output_root(environment: Mapping[str, str] | None) -> Path | None:
    text = read_text("OUTPUT_ROOT", "", environment)
    root = Path(text or VOLUME)
    if root.is_dir() and os.access(root, os.W_OK | os.X_OK):
        return root
    if text:
        raise InvalidInput(f"OUTPUT_ROOT must be a writable folder, not {text[:80]!r}.")
    if root.is_dir():
        # RunPod's network volumes belong to root, and the image runs as another user
        log_event(
            "volume_not_writable",
            level=logging.WARNING,
            folder=str(root),
            user=os.geteuid(),
            advice=f"Videos cannot be saved on {root}: set a bucket, or build the image with RUN_AS=0.",
        )
    return None


def _read_networks(name: str, environment: Mapping[str, str] | None) -> tuple[Network, ...]:
    networks = []
    for text in filter(None, (part.strip() for part in read_text(name, "", environment).split(","))):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            raise InvalidInput(f"{name} must list networks such as 10.1.0.0/16, not {text[:60]!r}.") from None
    return tuple(networks)
