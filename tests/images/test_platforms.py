"""Platforms: names, and what runs where."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steelyard.errors import InvalidArgument
from steelyard.images import Platform

ALL_ARM = "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/x86-64/v1", "linux/amd64"),
        ("linux/amd64/v2", "linux/amd64/v2"),
        ("linux/amd64/3", "linux/amd64/v3"),
        ("linux/i386", "linux/386"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("macos/arm64", "darwin/arm64"),
        ("windows(10.0.17763.1)/amd64", "windows(10.0.17763.1)/amd64"),
        ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
        ("linux/s390x", "linux/s390x"),
    ],
)
def test_a_platform_has_one_name(text: str, normal: str) -> None:
    assert normal == str(Platform.parse(text))
    assert Platform.parse(normal) == Platform.parse(text)


def test_half_a_platform_is_completed_by_this_machine() -> None:
    here = Platform.host()

    assert here == Platform.parse(here.os)
    assert (here.os, "riscv64") == (Platform.parse("riscv64").os, Platform.parse("riscv64").architecture)
    assert Platform.parse("x86_64").architecture == "amd64"


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "a/b/c/d", "linux/am d64", "nonsense", "linux(", "li nux/amd64", "linux/é"]
)
def test_what_names_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("linux/amd64", "linux/amd64 linux/386"),
        ("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386"),
        ("linux/arm", "linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/arm/v6", "linux/arm/v6 linux/arm/v5"),
        ("linux/arm/v8", "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/arm64", "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        (
            "linux/arm64/v8.2",
            "linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
        ),
        (
            "linux/arm64/v9",
            " ".join(f"linux/arm64/v{number}" for number in (9, 8.5, 8.4, 8.3, 8.2, 8.1)) + f" linux/arm64 {ALL_ARM}",
        ),
        ("linux/s390x", "linux/s390x"),
        ("linux/amd64/odd", "linux/amd64/odd linux/386"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64 windows(10.0.17763)/386"),
    ],
)
def test_lesser_platforms_run_too_the_best_first(text: str, order: str) -> None:
    assert order.split() == [str(each) for each in Platform.parse(text).runs()]


@pytest.mark.parametrize(
    ("wanted", "offered", "accepted"),
    [
        ("linux/arm64", Platform(os="linux", architecture="arm64", variant="v8"), True),
        ("linux/arm64", Platform(os="linux", architecture="arm", variant="v8"), False),
        ("linux/amd64", Platform(os="windows", architecture="amd64"), False),
        ("windows/amd64", Platform(os="windows", architecture="amd64", os_version="10.0.17763.1"), True),
        ("windows(10.0.17763.9)/amd64", Platform(os="windows", architecture="amd64", os_version="10.0.17763.1"), True),
        ("windows(10.0.17763.9)/amd64", Platform(os="windows", architecture="amd64", os_version="10.0.20348.1"), False),
        ("windows(10.0.17763.9)/amd64", Platform(os="windows", architecture="amd64"), True),
        ("freebsd(14.0)/amd64", Platform(os="freebsd", architecture="amd64", os_version="14.1"), False),
        ("windows(1+a)/amd64", Platform(os="windows", architecture="amd64", os_features=("b",)), False),
        ("windows(1+a+b)/amd64", Platform(os="windows", architecture="amd64", os_features=("b",)), True),
        ("windows/amd64", Platform(os="windows", architecture="amd64", os_features=("b",)), True),
        ("linux/amd64", Platform(os="unknown", architecture="unknown"), False),
    ],
)
def test_a_platform_accepts_itself_under_any_name(wanted: str, offered: Platform, accepted: bool) -> None:
    assert accepted == Platform.parse(wanted).accepts(offered)


@given(
    st.sampled_from(["linux", "windows", "LINUX"]),
    st.sampled_from(["amd64", "arm", "arm64", "aarch64", "armhf", "386", "odd"]),
    st.none() | st.text(max_size=6),
)
@example("linux", "arm", "¹")
def test_what_is_normalised_stays_so_and_runs_once(system: str, architecture: str, variant: str | None) -> None:
    platform = Platform(os=system, architecture=architecture, variant=variant).normalised()
    order = list(platform.runs())

    assert platform == platform.normalised() == order[0]
    assert len(order) == len(set(order)) < 110
    assert all(each == each.normalised() for each in order)
