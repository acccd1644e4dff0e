"""Platforms of images, and the other platforms that each can run.

Spec: OCI image index, "platform"; the names and the order of preference are those of containerd's `platforms`.
"""

from __future__ import annotations

import platform as host
import re
from collections.abc import Iterator
from typing import Self

import msgspec

from steelyard.errors import InvalidArgument

__all__ = ("Platform",)

_ARCHITECTURES = {
    "i386": ("386", ""),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
"""Other names of architectures: Go's name, and the variant that the name implies."""

_VARIANTS = {
    ("amd64", "v1"): "",
    ("arm64", "v8"): "",
    ("arm64", "v8.0"): "",
    ("arm64", "v9.0"): "v9",
    ("arm", ""): "v7",
}
"""Other names of variants."""

_KNOWN_ARCHITECTURES = re.compile(
    "386|amd64|arm|arm64|loong64|mips|mips64|mips64le|mipsle|ppc64|ppc64le|riscv64|s390x|wasm"
)
_KNOWN_SYSTEMS = re.compile(
    "aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|macos|netbsd|openbsd|plan9|solaris|wasip1|windows|zos"
)
_PART = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_SYSTEM = re.compile(r"([A-Za-z0-9_.-]+)(?:\(([A-Za-z0-9_.-]*)((?:\+[A-Za-z0-9_.-]+)*)\))?", re.ASCII)


class Platform(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"os_version": "os.version", "os_features": "os.features"},
):
    """The platform of an image, as in an index.

    Attributes:
        os: the operating system, by Go's name: ``linux``.
        architecture: the architecture, by Go's name: ``amd64``.
        variant: the variant of the architecture: ``v7`` of ``arm``.
        os_version: the version of the operating system; used for Windows.
        os_features: the required features of the operating system.
    """

    os: str = ""
    architecture: str = ""
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: Self | str) -> Self:
        """Return the platform of a text, normalised.

        Args:
            text: ``os``, ``architecture``, ``os/architecture`` or ``os/architecture/variant``; missing parts are those of
                this machine. A version may follow the system in parentheses: ``windows(10.0.17763)/amd64``.

        Raises:
            InvalidArgument: it is not a platform.
        """
        if not isinstance(text, str):
            return text.normalised()
        system, *rest = text.split("/")
        match = _SYSTEM.fullmatch(system)
        if match is None or len(rest) > 2 or not all(_PART.fullmatch(part) for part in rest):
            raise InvalidArgument(f"platform {text[:100]!r}: expected os/architecture or os/architecture/variant")
        name, version, features = match[1].lower(), match[2] or None, match[3] or ""
        here = cls.host()
        if rest:
            variant = rest[1] if len(rest) == 2 else None
            found = cls(os=name, architecture=rest[0], variant=variant)
        elif _KNOWN_SYSTEMS.fullmatch(name):
            found = cls(os=name, architecture=here.architecture, variant=here.variant)
        else:
            found = cls(os=here.os, architecture=name).normalised()
            if not _KNOWN_ARCHITECTURES.fullmatch(found.architecture):
                raise InvalidArgument(f"platform {text[:100]!r}: neither an operating system nor an architecture")
        wanted = tuple(features[1:].split("+")) if features else None
        return msgspec.structs.replace(found, os_version=version, os_features=wanted).normalised()

    @classmethod
    def host(cls) -> Self:
        """Return this machine's platform."""
        return cls(os=host.system(), architecture=_machine()).normalised()

    def normalised(self) -> Self:
        """Return the same platform under its common names: ``linux/x86_64`` is ``linux/amd64``."""
        system = self.os.lower()
        architecture, variant = self.architecture.lower(), (self.variant or "").lower()
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, None))
        variant = variant if implied is None else implied
        if architecture in {"arm", "arm64", "amd64"} and _is_number(variant[:1]):
            variant = f"v{variant}"
        variant = _VARIANTS.get((architecture, variant), variant)
        return msgspec.structs.replace(
            self,
            os="darwin" if system == "macos" else system,
            architecture=architecture,
            variant=variant or None,
            os_version=self.os_version or None,
            os_features=tuple(sorted(self.os_features)) if self.os_features else None,
        )

    def runs(self) -> Iterator[Platform]:
        """Yield the platforms whose programs run on this one, normalised, the best match first: itself, then lower variants.

        Programs for 386 run on amd64, those for arm run on arm64.
        """
        mine = self.normalised()
        number = (mine.variant or "").removeprefix("v")
        yield mine
        match mine.architecture:
            case "amd64":
                yield from _lesser(mine, "amd64", int(number) - 1 if _is_number(number) else 0, 1)
                yield msgspec.structs.replace(mine, architecture="386", variant=None)
            case "arm":
                yield from _lesser(mine, "arm", int(number) - 1 if _is_number(number) else 0, 5)
            case "arm64":
                yield from _lesser_arm64(mine, number)
                yield from _lesser(mine, "arm", 8, 5)

    def accepts(self, other: Platform) -> bool:
        """Return whether `other` is this platform under any name; a version that only one of them has is ignored."""
        mine, theirs = self.normalised(), other.normalised()
        same = (mine.os, mine.architecture, mine.variant) == (theirs.os, theirs.architecture, theirs.variant)
        return same and _same_version(mine, theirs) and _has_features(mine, theirs)

    def __str__(self) -> str:
        extra = "".join(f"+{feature}" for feature in self.os_features or ())
        version = f"({self.os_version or ''}{extra})" if self.os_version or extra else ""
        return "/".join(
            filter(None, (f"{self.os or 'unknown'}{version}", self.architecture or "unknown", self.variant))
        )


def _machine() -> str:
    machine = host.machine().lower()
    arm = re.match(r"armv([5-8])", machine)
    return machine if arm is None else {"5": "arm", "6": "armel"}.get(arm[1], "armhf")


def _is_number(text: str) -> bool:
    """Return whether a text has digits only: those that `int` takes, so not a superscript, for example."""
    return text.isascii() and text.isdigit()


def _lesser(mine: Platform, architecture: str, first: int, last: int) -> Iterator[Platform]:
    for number in range(min(first, 99), last - 1, -1):
        yield msgspec.structs.replace(mine, architecture=architecture, variant=f"v{number}").normalised()


def _lesser_arm64(mine: Platform, number: str) -> Iterator[Platform]:
    """ARMv9.n has all of ARMv8.(n+5)."""
    match = re.fullmatch(r"([89])(?:\.(\d{1,2}))?", number, re.ASCII)
    if match is None:
        return
    minor = int(match[2] or 0)
    names = [f"v8.{step}" for step in range(minor - 1, 0, -1)] + ["v8"]
    if match[1] == "9":
        names = [f"v9.{step}" for step in range(minor - 1, -1, -1)] + [f"v8.{step}" for step in range(minor + 5, 0, -1)]
        names.append("v8")
    for name in names:
        yield msgspec.structs.replace(mine, variant=name).normalised()


def _same_version(mine: Platform, theirs: Platform) -> bool:
    if mine.os_version is None or theirs.os_version is None:
        return True
    if mine.os == "windows":  # the fourth number counts updates, which do not change the interface for programs
        return mine.os_version.split(".")[:3] == theirs.os_version.split(".")[:3]
    return mine.os_version == theirs.os_version


def _has_features(mine: Platform, theirs: Platform) -> bool:
    return mine.os_features is None or set(theirs.os_features or ()) <= set(mine.os_features)
