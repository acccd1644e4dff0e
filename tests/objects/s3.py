"""A client of S3's protocol that shares no code with the package: it signs its requests itself (AWS Signature Version 4)."""

from __future__ import annotations

import hashlib
import hmac
import http.client
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

__all__ = ("KEYS", "request")

KEYS = {
    "AWS_ACCESS_KEY_ID": "steelyardtests",
    "AWS_SECRET_ACCESS_KEY": "canary5e1f0c7a2b9d",
    "AWS_REGION": "us-east-1",
}
"""The credentials of the servers. No text may have the secret: see `canary.py`."""


def request(
    method: str, endpoint: str, path: str, *, query: dict[str, str] | None = None, data: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Send a signed request, and return status, headers and body of the answer."""
    host = urlsplit(endpoint).netloc
    now = datetime.now(UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(data).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(headers)
    parameters = urlencode(sorted((query or {}).items()), quote_via=quote)
    lines = [
        method,
        quote(path),
        parameters,
        *(f"{name}:{value}" for name, value in headers.items()),
        "",
        names,
        digest,
    ]
    scope = f"{day}/{KEYS['AWS_REGION']}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    key = ("AWS4" + KEYS["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = f"{KEYS['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}"
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, quote(path) + (f"?{parameters}" if parameters else ""), data, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()
