"""A real S3 server on loopback."""

from __future__ import annotations

import uuid

import boto3
import requests


def new_bucket() -> str:
    """A name that no other storage has: what moto stores is one for the whole process."""
    return f"videos-{uuid.uuid4().hex}"


class Storage:
    """moto's S3 server with one bucket, whose check of credentials can be turned on.

    Args:
        port: 0 takes a free one.
        bucket: Its name; None: a new one.
    """

    def __init__(self, port: int = 0, bucket: str | None = None) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="key",
            aws_secret_access_key="hush-hush",
            region_name="us-east-1",
        )
        self.bucket = bucket or new_bucket()
        self.client.create_bucket(Bucket=self.bucket)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "BUCKET_ENDPOINT_URL": self.url,
            "BUCKET_NAME": self.bucket,
            "BUCKET_ACCESS_KEY_ID": "key",
            "BUCKET_SECRET_ACCESS_KEY": "hush-hush",
            "BUCKET_PREFIX": "made",
            "BUCKET_URL_SECONDS": "600",
        }

    def check_credentials(self, on: bool) -> None:
        count = "0" if on else "Infinity"
        requests.post(f"{self.url}/moto-api/reset-auth", data=count, timeout=10).raise_for_status()

    def list_keys(self) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def close(self) -> None:
        self._server.stop()
