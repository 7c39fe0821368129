"""An S3-compatible bucket: one key per file, and URLs that expire."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import MultiTalkError
from .worker_settings import BucketSettings

CONTENT_TYPE = "video/mp4"
DEFAULT_REGION = "us-east-1"  # signing needs one, also where a service has none
_CODE = re.compile(r"\((\w+)\)")


class BucketError(MultiTalkError):
    """The bucket didn't take a file; the sentence has no credentials and no address in it."""


class Bucket:
    """Uploads files.

    Args:
        settings: Where, and with which credentials.
    """

    def __init__(self, settings: BucketSettings) -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        self.settings = settings
        amazon = settings.endpoint.endswith(".amazonaws.com")
        config = Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=60,
            retries={"max_attempts": 4, "mode": "standard"},
            # most other services know a bucket by the path only, and not the newer checksums
            s3={"addressing_style": "auto" if amazon else "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._transfer = TransferConfig(max_concurrency=4)
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=settings.endpoint,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            region_name=settings.region or DEFAULT_REGION,
            config=config,
        )

    def check(self, key: str) -> None:
        """Ask whether a file could be uploaded, without leaving anything there.

        Raises:
            BucketError: It couldn't.
        """
        with _told_as_bucket_error():
            target = {"Bucket": self.settings.name, "Key": self.settings.prefix + key}
            upload = self._client.create_multipart_upload(**target, ContentType=CONTENT_TYPE)
        with contextlib.suppress(Exception):  # services forget an unfinished upload by themselves, too
            self._client.abort_multipart_upload(**target, UploadId=upload["UploadId"])

    def upload(self, path: Path, key: str) -> str:
        """Upload a video.

        Args:
            path: The file.
            key: Its name below the prefix.

        Returns:
            A URL that works for anybody until it expires.

        Raises:
            BucketError: It wasn't taken.
        """
        target = {"Bucket": self.settings.name, "Key": self.settings.prefix + key}
        with _told_as_bucket_error():
            self._client.upload_file(
                str(path), *target.values(), ExtraArgs={"ContentType": CONTENT_TYPE}, Config=self._transfer
            )
            return self._client.generate_presigned_url(
                "get_object", Params=target, ExpiresIn=self.settings.url_seconds
            )


@contextlib.contextmanager
def _told_as_bucket_error() -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

    try:
        yield
    except (ConnectionError, HTTPClientError) as error:
        raise BucketError(f"The bucket can't be reached ({type(error).__name__}).") from error
    except (BotoCoreError, Boto3Error, ClientError) as error:
        code = _CODE.search(str(error))
        reason = code[1] if code else type(error).__name__
        raise BucketError(
            f"The bucket doesn't take the worker's files ({reason}): check BUCKET_ENDPOINT_URL, BUCKET_NAME "
            "and the BUCKET_* credentials."
        ) from error
