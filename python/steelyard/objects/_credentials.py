"""Credentials and settings from the shared files of AWS. The native client itself reads the environment and instance roles."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

from steelyard.errors import InvalidArgument
from steelyard.objects._address import ObjectAddress

__all__ = ("Settings", "client_options")

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "token",
}


class Settings(dict[str, str]):
    """Settings whose `repr` and `str` hide the values: they contain credentials, and tracebacks may show local variables."""

    def __repr__(self) -> str:
        return f"<settings {', '.join(self)}>"

    __str__ = __repr__


def client_options(address: ObjectAddress) -> Settings:
    """Return the settings of the native client. This reads files, so call it on a worker thread.

    Options of the address take precedence over environment variables, and these over the shared files
    (``~/.aws/credentials``, ``~/.aws/config``, or those that ``AWS_SHARED_CREDENTIALS_FILE`` and ``AWS_CONFIG_FILE`` name).

    Raises:
        InvalidArgument: a shared file cannot be read, or lacks the profile that ``AWS_PROFILE`` names.
    """
    options = Settings(bucket=address.bucket)
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    name = profile or "default"
    keys = _section("AWS_SHARED_CREDENTIALS_FILE", "credentials", name)
    config = _section("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}")
    if profile is not None and not keys and not config:
        raise InvalidArgument(f"profile {profile!r}: not found in the shared files of AWS")
    if "AWS_ACCESS_KEY_ID" not in os.environ:
        for theirs, ours in _KEYS.items():
            if (value := keys.get(theirs) or config.get(theirs)) is not None:
                options[ours] = value
    region = (
        address.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or config.get("region")
    )
    if region is not None:
        options["region"] = region
    endpoint = (
        address.endpoint
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or config.get("endpoint_url")
    )
    if endpoint is not None:
        # Under this name, which the client prefers to "endpoint", because the client reads the environment, too.
        options |= {"aws_endpoint_url_s3": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
    return options


def _section(variable: str, default: str, name: str) -> Settings:
    path = Path(os.path.expanduser(os.environ.get(variable) or f"~/.aws/{default}"))  # noqa: PTH111 - it never fails
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        fault = type(error).__name__
    else:
        return Settings(parser[name]) if name in parser else Settings()
    # Raised outside of the block above, and without the error's text: both would repeat lines of the file.
    raise InvalidArgument(f"{path}: cannot be read: {fault}")
