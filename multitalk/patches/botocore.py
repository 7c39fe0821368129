"""botocore: S3 clients that do not recurse when a service redirects every request."""

from __future__ import annotations

from typing import Any

PINNED = {"botocore": ("1.44.8",)}


def redirect_once(client: Any) -> None:
    """Make an S3 client answer a redirect without a region with an error instead of a RecursionError.

    For a redirect, the client looks for the bucket's region, if necessary with HeadBucket, whose redirect it
    handles the same way.

    Args:
        client: A client of boto3.
    """

    def mark_as_redirected(params: dict[str, Any], **_: Any) -> None:
        params["context"].setdefault("s3_redirect", {})["redirected"] = True

    client.meta.events.register("before-call.s3.HeadBucket", mark_as_redirected)
