"""A search for secrets in all that an error carries: texts, attributes, what it was raised from, and the locals of its frames."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence

from .s3 import KEYS

__all__ = ("SECRETS", "assert_no_secret", "texts_of")

SECRETS = (KEYS["AWS_SECRET_ACCESS_KEY"],)


def assert_no_secret(error: BaseException, secrets: Sequence[str] = SECRETS) -> None:
    """Check each text of an error, and of the errors that it was raised from."""
    for text in texts_of(error):
        for secret in secrets:
            assert secret not in text, text.replace(secret, "SECRET")


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield the texts of an error and of those behind it, the suppressed ones, too."""
    seen: set[int] = set()
    found = [error]
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield str(each)
        yield repr(each)
        yield repr(vars(each))
        yield "".join(traceback.format_exception(each))
        for frame, _ in traceback.walk_tb(each.__traceback__):
            # Those of the tests have the secrets on purpose.
            if "/tests/" not in frame.f_code.co_filename:
                yield from (f"{name} = {value!r}" for name, value in list(frame.f_locals.items()))
        found += [other for other in (each.__cause__, each.__context__) if other is not None]
        if isinstance(each, BaseExceptionGroup):
            found += each.exceptions
