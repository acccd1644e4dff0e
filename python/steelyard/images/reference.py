"""Names of images, in short and complete form: ``alpine`` means ``docker.io/library/alpine:latest``.

```text
reference = name [ ":" tag ] [ "@" digest ]
name      = [ domain "/" ] path
domain    = host [ ":" port ]          a DNS name, an IPv4 address, an IPv6 address in brackets
path      = component *( "/" component )   lower-case letters and digits, joined by ".", "_", "__" or any number of "-"
tag       = 1 to 128 letters, digits, "_", "." or "-", but neither "." nor "-" first
```

The first component counts as a domain only if it has a dot, a colon or an upper-case letter, or is ``localhost``. Without one the
domain is ``docker.io``, where a path of one component is in ``library/``.

Spec: distribution/reference; OCI distribution specification, "Pulling manifests".
"""

from __future__ import annotations

import re
from typing import Self

import msgspec

from steelyard.digest import Digest
from steelyard.errors import InvalidDigest, InvalidReference

__all__ = ("DEFAULT_DOMAIN", "DEFAULT_TAG", "ImageReference", "normalise", "parse_object")

DEFAULT_DOMAIN = "docker.io"
"""The domain of names without one."""

DEFAULT_TAG = "latest"
"""The tag of names with neither tag nor digest."""

_OTHER_DOMAIN = "index.docker.io"
_LIBRARY = "library/"
_NAME_LIMIT = 255
_TEXT_LIMIT = 1024
"""Longer texts are refused: no name with tag and digest has so many characters. It protects the regular expressions from hostile texts."""

_HOST_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z0-9+._-]+:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_WHOLE_TAG = re.compile(_TAG)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


class ImageReference(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A parsed reference to an image. Its text is its name, followed by its tag and its digest, if it has them.

    Attributes:
        domain: the registry; empty only if the reference was read without a domain.
        path: the repository in the registry.
        tag: the tag, or None.
        digest: the digest, or None.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference that a text means: with a domain, and with a tag only if the text has one.

        Raises:
            InvalidReference: it is not a reference. 64 hex digits are refused, because they could mean a digest.
            InvalidDigest: the part after ``@`` is not a digest that a store computes.
        """
        if _IDENTIFIER.fullmatch(text):
            raise InvalidReference(text, reason="64 hex digits could be a digest")
        domain, slash, rest = text.partition("/")
        if not slash or not _is_domain(domain):
            domain, rest = DEFAULT_DOMAIN, text
        elif domain == _OTHER_DOMAIN:
            domain = DEFAULT_DOMAIN
        if domain == DEFAULT_DOMAIN and "/" not in rest:
            rest = f"{_LIBRARY}{rest}"
        return cls._read(f"{domain}/{rest}", text)

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the reference as it is written. If the text has no domain, the domain is empty.

        Raises:
            InvalidReference: it is not a reference.
            InvalidDigest: the part after ``@`` is not a digest that a store computes.
        """
        return cls._read(text, text)

    @classmethod
    def _read(cls, text: str, given: str) -> Self:
        if not given:
            raise InvalidReference(given, reason="it is empty")
        if len(text) > _TEXT_LIMIT:
            raise InvalidReference(given, reason=f"it is longer than {_TEXT_LIMIT} characters")
        match = _REFERENCE.fullmatch(text)
        if match is None:
            lower = text.lower()
            if lower != text and _REFERENCE.fullmatch(lower):
                raise InvalidReference(given, reason="a repository is written in lower case")
            raise InvalidReference(given, reason="expected [domain/]path[:tag][@digest]")
        digest = match["digest"]
        found = cls(
            domain=match["domain"] or "",
            path=match["path"],
            tag=match["tag"],
            digest=None if digest is None else Digest.parse(digest),
        )
        if len(found.name) > _NAME_LIMIT:
            raise InvalidReference(
                given, reason=f"the name without tag and digest is longer than {_NAME_LIMIT} characters"
            )
        return found

    @property
    def name(self) -> str:
        """The domain and the path: a repository."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def familiar(self) -> str:
        """The short form, without the parts that `parse` adds."""
        if self.domain != DEFAULT_DOMAIN:
            return str(self)
        inner = self.path.removeprefix(_LIBRARY)
        short = self.path if "/" in inner else inner
        first, slash, _ = short.partition("/")
        if slash and _is_domain(first):
            return str(self)
        return f"{short}{self._suffix}"

    def with_tag(self, tag: str) -> Self:
        """Return the reference with another tag.

        Raises:
            InvalidReference: it is not a valid tag.
        """
        if not _WHOLE_TAG.fullmatch(tag):
            raise InvalidReference(tag, reason="expected a tag: letters, digits, '_', '.' and '-', at most 128")
        return msgspec.structs.replace(self, tag=tag)

    def with_digest(self, digest: Digest | str) -> Self:
        """Return the reference with another digest.

        Raises:
            InvalidDigest: it is not a valid digest.
        """
        return msgspec.structs.replace(self, digest=Digest.parse(digest))

    def complete(self) -> Self:
        """Return the reference, with the tag ``latest`` if it has neither tag nor digest."""
        return self if self.tag or self.digest else self.with_tag(DEFAULT_TAG)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return f"{self.name}{self._suffix}"


def _is_domain(component: str) -> bool:
    """Return whether the first of several components is a domain."""
    return component == "localhost" or re.search(r"[.:A-Z]", component) is not None


def normalise(text: str) -> str:
    """Return the image name that a text means: ``alpine`` means ``docker.io/library/alpine:latest``.

    Raises:
        InvalidReference: it is not a reference.
        InvalidDigest: the part after ``@`` is not a digest that a store computes.
    """
    return str(ImageReference.parse(text).complete())


def parse_object(text: str) -> tuple[str | None, Digest | None]:
    """Return the tag and the digest of a text ``tag``, ``@digest`` or ``tag@digest``, which follows a repository.

    Raises:
        InvalidReference: it is not a reference.
        InvalidDigest: the part after ``@`` is not a digest that a store computes.
    """
    name, at, digest = text.partition("@")
    if not (name or at) or (name and not _WHOLE_TAG.fullmatch(name)):
        raise InvalidReference(text, reason="expected a tag, @digest or tag@digest")
    if at and not digest:
        raise InvalidDigest(digest)
    return name or None, Digest.parse(digest) if at else None
