"""Whether this process has credentials for S3. Without any, obstore would try for half a minute to reach a metadata service."""

from __future__ import annotations

import functools
import os
import urllib.request
from http.client import HTTPException

from adaprob_ray.errors import InputError

# What obstore reads: keys, the role of a container or of a Kubernetes service account, or none for a public bucket.
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
METADATA_ENDPOINT = "http://169.254.169.254"  # where an EC2 instance learns its role
METADATA_SECONDS = 1.0  # the AWS command line waits as long


def require_credentials(uri: str) -> None:
    """Check that there are credentials for an s3:// URI; whether they are valid is for the service to say.

    Raises:
        InputError: there are none: one line that says what to set.
    """
    if not uri.startswith("s3://") or any(os.environ.get(name) for name in CREDENTIALS):
        return
    if not _instance_has_role(os.environ.get("AWS_METADATA_ENDPOINT") or METADATA_ENDPOINT):
        raise InputError(
            f"store {uri}: no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (~/.aws is not read; "
            "AWS_SKIP_SIGNATURE=true for a public bucket), or use a machine that has a role"
        )


@functools.cache  # a role stays, and a store is opened many times
def _instance_has_role(endpoint: str) -> bool:
    """Whether the instance metadata service answers and knows a role of this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine's own link
    base = endpoint.rstrip("/")
    token = urllib.request.Request(
        f"{base}/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    )
    try:
        with opener.open(token, timeout=METADATA_SECONDS) as answer:
            headers = {"X-aws-ec2-metadata-token": answer.read().decode("ascii")}
        roles = urllib.request.Request(f"{base}/latest/meta-data/iam/security-credentials/", headers=headers)
        with opener.open(roles, timeout=METADATA_SECONDS) as answer:
            return bool(answer.read().strip())
    except (OSError, HTTPException, ValueError):  # no answer, another service, or an instance without a role
        return False
