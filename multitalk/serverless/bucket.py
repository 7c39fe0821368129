"""Upload videos to an S3-compatible bucket: one key per file, URLs that expire."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from ..errors import MultiTalkError
from .log import log_event
from .worker_settings import BucketSettings

CONTENT_TYPES = {".mp4": "video/mp4", ".png": "image/png"}
DEFAULT_REGION = "us-east-1"  # signing needs a region even if the service has none
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between attempts, doubled each time
MAX_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
# Codes of temporary failures whose status is not 429 or 5xx.
TEMPORARY = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded")

Result = TypeVar("Result")


class BucketError(MultiTalkError):
    """The bucket did not store a file. The message contains no credentials and no address.

    Args:
        message: What happened.
        temporary: Whether a later attempt may succeed.
        location: Where the service redirected the request, if it did.
    """

    def __init__(self, message: str, temporary: bool = False, location: str | None = None) -> None:
        super().__init__(message)
        self.temporary, self.location = temporary, location


@dataclass(frozen=True)
class Patience:
    """How long to try again after temporary failures.

    Attributes:
        seconds: Time from the first attempt to the start of the last one.
        cancel: Ends the waiting when it is set.
    """

    seconds: float = 0.0
    cancel: threading.Event = field(default_factory=threading.Event)


class Bucket:
    """An S3 client for one bucket.

    Args:
        settings: Endpoint, bucket and credentials.
    """

    def __init__(self, settings: BucketSettings) -> None:
        from boto3.s3.transfer import TransferConfig

        self.settings = settings
        self._transfer = TransferConfig(max_concurrency=4)
        self._connect(settings.endpoint)

    def check(self, key: str, patience: Patience | None = None) -> None:
        """Check that files can be uploaded, without leaving anything in the bucket.

        Raises:
            BucketError: The bucket cannot be reached or rejects the request.
        """
        target = {"Bucket": self.settings.name, "Key": self.settings.prefix + key}

        def create() -> Any:
            return self._client.create_multipart_upload(**target, ContentType=CONTENT_TYPES[".mp4"])

        upload = self._try(create, target["Key"], patience or Patience())
        with contextlib.suppress(Exception):  # services also discard unfinished uploads themselves
            self._client.abort_multipart_upload(**target, UploadId=upload["UploadId"])

    def upload(self, path: Path, key: str, patience: Patience | None = None) -> str:
        """Upload a video or a picture.

        Args:
            path: The file.
            key: Name of the object, below the prefix.
            patience: How long to try again after temporary failures; None: not at all.

        Returns:
            A signed URL.

        Raises:
            BucketError: The upload failed.
        """
        target = {"Bucket": self.settings.name, "Key": self.settings.prefix + key}

        def upload() -> str:
            kind = {"ContentType": CONTENT_TYPES[path.suffix]}
            self._client.upload_file(str(path), *target.values(), ExtraArgs=kind, Config=self._transfer)
            return str(
                self._client.generate_presigned_url(
                    "get_object", Params=target, ExpiresIn=self.settings.url_seconds
                )
            )

        return self._try(upload, target["Key"], patience or Patience())

    def _connect(self, endpoint: str) -> None:
        import boto3
        from botocore.config import Config

        from ..patches.botocore import redirect_once

        amazon = (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
        config = Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=60,
            # of each request; _try repeats the whole upload
            retries={"max_attempts": 2, "mode": "standard"},
            # most other services support only path-style addresses, and not the newer checksums
            s3={"addressing_style": "auto" if amazon else "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._endpoint = endpoint
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=self.settings.access_key_id,
            aws_secret_access_key=self.settings.secret_access_key,
            region_name=self.settings.region or DEFAULT_REGION,
            config=config,
        )
        redirect_once(self._client)

    def _try(self, work: Callable[[], Result], key: str, patience: Patience) -> Result:
        """Do some work until it succeeds, with growing pauses after temporary failures."""
        deadline = time.monotonic() + patience.seconds
        pause, redirects = FIRST_PAUSE, 0
        while True:
            try:
                return work()
            except Exception as error:
                failure = describe_failure(error)
            if failure.location and redirects < MAX_REDIRECTS and self._follow(failure.location, key):
                redirects += 1
                continue
            if not failure.temporary or time.monotonic() + pause > deadline:
                raise failure
            log_event("bucket_retry", level=logging.WARNING, reason=str(failure), pause=pause)
            # the random share keeps many workers from returning at the same moment
            if patience.cancel.wait(pause * random.uniform(0.75, 1.0)):
                raise failure
            pause = min(2 * pause, LONGEST_PAUSE)
            if redirects:  # the redirect may have been temporary too
                self._connect(self.settings.endpoint)
                redirects = 0

    def _follow(self, location: str, key: str) -> bool:
        """Use the endpoint that a request was redirected to from now on; return whether it is known."""
        target, current = urlsplit(location), urlsplit(self._endpoint)
        path = f"/{quote(f'{self.settings.name}/{key}')}"
        known = bool(target.hostname) and target.path.endswith(path)
        # never from https to http: the video would be sent unencrypted
        if not known or target.scheme not in {"https", current.scheme}:
            return False
        endpoint = f"{target.scheme}://{target.netloc}{target.path.removesuffix(path)}"
        log_event(
            "bucket_redirected",
            level=logging.WARNING,
            to=endpoint,
            advice=f"Set BUCKET_ENDPOINT_URL to {endpoint}.",
        )
        self._connect(endpoint)
        return True


def describe_failure(error: Exception) -> BucketError:
    """Describe an error of boto3 or botocore.

    Raises:
        Exception: The error itself, if it is none of theirs.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, SSLError

    # boto3 raises its own error for a failed upload while handling botocore's
    source = error.__context__ if isinstance(error, Boto3Error) and error.__context__ is not None else error
    if isinstance(source, SSLError):
        return BucketError("The bucket's certificate is not trusted. Check BUCKET_ENDPOINT_URL.")
    if isinstance(source, (ConnectionError, HTTPClientError)):
        return BucketError(f"The bucket cannot be reached ({type(source).__name__}).", temporary=True)
    if isinstance(source, ClientError):
        return _describe_answer(source.response)
    if isinstance(source, (BotoCoreError, Boto3Error)):
        return _rejected(type(source).__name__)
    raise error


def _describe_answer(response: Any) -> BucketError:
    code = str(response.get("Error", {}).get("Code", ""))
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    if status in REDIRECTS:
        location = metadata.get("HTTPHeaders", {}).get("location")
        return BucketError(
            f"The bucket's endpoint redirects to another address (status {status}). "
            "Set BUCKET_ENDPOINT_URL to the address that the service itself has.",
            location=location,
        )
    if status >= 500 or status == 429 or code in TEMPORARY:
        return BucketError(f"The bucket is not available ({code or status}).", temporary=True)
    return _rejected(code or str(status))


def _rejected(reason: str) -> BucketError:
    return BucketError(
        f"The bucket rejected the upload ({reason}). "
        "Check BUCKET_ENDPOINT_URL, BUCKET_NAME and the BUCKET_* credentials."
    )
