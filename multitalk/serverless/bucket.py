"""Upload videos to an S3-compatible bucket: one key per file, URLs that expire."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import MultiTalkError
from .worker_settings import BucketSettings

CONTENT_TYPE = "video/mp4"
DEFAULT_REGION = "us-east-1"  # signing needs a region even if the service has none
_CODE = re.compile(r"\((\w+)\)")


class BucketError(MultiTalkError):
    """The bucket rejected a file. The message contains no credentials and no address."""


class Bucket:
    """An S3 client for one bucket.

    Args:
        settings: Endpoint, bucket and credentials.
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
            # most other services support only path-style addresses, and not the newer checksums
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
        """Check that files can be uploaded, without leaving anything in the bucket.

        Raises:
            BucketError: The bucket cannot be reached or rejects the request.
        """
        with _bucket_errors():
            target = {"Bucket": self.settings.name, "Key": self.settings.prefix + key}
            upload = self._client.create_multipart_upload(**target, ContentType=CONTENT_TYPE)
        with contextlib.suppress(Exception):  # services also discard unfinished uploads themselves
            self._client.abort_multipart_upload(**target, UploadId=upload["UploadId"])

    def upload(self, path: Path, key: str) -> str:
        """Upload a video.

        Args:
            path: The file.
            key: Name of the object, below the prefix.

        Returns:
            A signed URL.

        Raises:
            BucketError: The upload failed.
        """
        target = {"Bucket": self.settings.name, "Key": self.settings.prefix + key}
        with _bucket_errors():
            self._client.upload_file(
                str(path), *target.values(), ExtraArgs={"ContentType": CONTENT_TYPE}, Config=self._transfer
            )
            return self._client.generate_presigned_url(
                "get_object", Params=target, ExpiresIn=self.settings.url_seconds
            )


@contextlib.contextmanager
def _bucket_errors() -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

    try:
        yield
    except (ConnectionError, HTTPClientError) as error:
        raise BucketError(f"The bucket cannot be reached ({type(error).__name__}).") from error
    except (BotoCoreError, Boto3Error, ClientError) as error:
        code = _CODE.search(str(error))
        reason = code[1] if code else type(error).__name__
        raise BucketError(
            f"The bucket rejected the upload ({reason}). "
            "Check BUCKET_ENDPOINT_URL, BUCKET_NAME and the BUCKET_* credentials."
        ) from error
