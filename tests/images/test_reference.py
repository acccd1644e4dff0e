"""Names of images: upstream's own table of inputs and outcomes, and properties of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidDigest, InvalidReference, UnsupportedAlgorithm
from steelyard.images import ImageReference, normalise, parse_object

F256 = "sha256:" + "f" * 64
F512 = "sha512:" + "f" * 128
HEX = "dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9c"
LONG = "this_is_not_a_valid_namespace_because_its_lenth_is_greater_than_255_" * 4

# input, domain, path, tag, digest: as it is written, without normalisation
READ = [
    ("test_com", "", "test_com", None, None),
    ("test.com:tag", "", "test.com", "tag", None),
    ("test.com:5000", "", "test.com", "5000", None),
    ("test.com/repo:tag", "test.com", "repo", "tag", None),
    ("test:5000/repo", "test:5000", "repo", None, None),
    ("test:5000/repo:tag", "test:5000", "repo", "tag", None),
    (f"test:5000/repo@{F256}", "test:5000", "repo", None, F256),
    (f"test:5000/repo:tag@{F256}", "test:5000", "repo", "tag", F256),
    ("lowercase:Uppercase", "", "lowercase", "Uppercase", None),
    ("a/" * 127 + "a:tag-puts-this-over-max", "a", "a/" * 126 + "a", "tag-puts-this-over-max", None),
    ("sub-dom1.foo.com/bar/baz/quux", "sub-dom1.foo.com", "bar/baz/quux", None, None),
    ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux", "some-long-tag", None),
    (
        "b.gcr.io/test.example.com/my-app:test.example.com",
        "b.gcr.io",
        "test.example.com/my-app",
        "test.example.com",
        None,
    ),
    ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", None),
    (f"xn--7o8h.com/myimage:xn--7o8h.com@{F512}", "xn--7o8h.com", "myimage", "xn--7o8h.com", F512),
    ("foo_bar.com:8080", "", "foo_bar.com", "8080", None),
    ("foo/foo_bar.com:8080", "foo", "foo_bar.com", "8080", None),
    ("192.168.1.1", "", "192.168.1.1", None, None),
    ("192.168.1.1:tag", "", "192.168.1.1", "tag", None),
    ("192.168.1.1:5000", "", "192.168.1.1", "5000", None),
    ("192.168.1.1/repo", "192.168.1.1", "repo", None, None),
    ("192.168.1.1:5000/repo", "192.168.1.1:5000", "repo", None, None),
    ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050", None),
    ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", None, None),
    ("[2001:db8:1:2:3:4:5:6]/repo:tag", "[2001:db8:1:2:3:4:5:6]", "repo", "tag", None),
    ("[2001:db8::1]:5000/repo", "[2001:db8::1]:5000", "repo", None, None),
    ("[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000", "repo", "tag", None),
    (f"[2001:db8::1]:5000/repo@{F256}", "[2001:db8::1]:5000", "repo", None, F256),
    (f"[2001:db8::1]:5000/repo:tag@{F256}", "[2001:db8::1]:5000", "repo", "tag", F256),
    ("[2001:db8::]:5000/repo", "[2001:db8::]:5000", "repo", None, None),
    ("[::1]:5000/repo", "[::1]:5000", "repo", None, None),
    # the name's own table
    ("short", "", "short", None, None),
    ("simple/name", "simple", "name", None, None),
    ("library/ubuntu", "library", "ubuntu", None, None),
    ("aa/aa/bb/bb/bb", "aa", "aa/bb/bb/bb", None, None),
    ("foo.com", "", "foo.com", None, None),
    ("foo.com:8080/bar", "foo.com:8080", "bar", None, None),
    ("localhost:8080/bar", "localhost:8080", "bar", None, None),
    ("aa-a/a", "aa-a", "a", None, None),
    ("foo_bar", "", "foo_bar", None, None),
    ("foo_bar.com", "", "foo_bar.com", None, None),
    ("foo.com/foo_bar", "foo.com", "foo_bar", None, None),
    ("example.com/xn--7o8h.com/myimage", "example.com", "xn--7o8h.com/myimage", None, None),
    ("example.com/some_separator__underscore/myimage", "example.com", "some_separator__underscore/myimage", None, None),
    ("do__cker/docker", "", "do__cker/docker", None, None),
    (
        "registry.io/foo/project--id.module--name.ver---sion--name",
        "registry.io",
        "foo/project--id.module--name.ver---sion--name",
        None,
        None,
    ),
    ("Asdf.com/foo/bar", "Asdf.com", "foo/bar", None, None),
    ("[fd00123123123]:75050/repo", "[fd00123123123]:75050", "repo", None, None),
    ("192.168.1.1:750050/repo", "192.168.1.1:750050", "repo", None, None),
    # the whole reference's own table
    ("registry.com:8080/myapp:tag", "registry.com:8080", "myapp", "tag", None),
    (f"localhost:8080@{F256}", "", "localhost", "8080", F256),
    (f"localhost@{F256}", "", "localhost", None, F256),
]

NOT_READ = [
    "",
    ":justtag",
    f"@{F256}",
    "Uppercase:tag",
    "test:5000/Uppercase/lowercase:tag",
    "a/" * 128 + "a:tag",
    "aa/asdf$$^/aa",
    "asdf$$^/aa",
    "[2001:db8::1]",
    "[2001:db8::1]:5000",
    "[2001:db8::1]:tag",
    "[fe80::1%eth0]:5000/repo",
    "[fe80::1%@invalidzone]:5000/repo",
    "a/a/a/a/",
    "a//a/a",
    "foo.com/",
    "foo.com:http/bar",
    "a^a",
    "a-/a/a/a",
    "foo.com/a-/a/a",
    "-foo/bar",
    "foo/bar-",
    "foo-/bar",
    "foo/-bar",
    "_foo/bar",
    "foo_bar.com:8080/app",
    "____/____",
    "_docker/_docker",
    "docker_/docker_",
    "example.com/__underscore/myimage",
    "example.com/..dots/myimage",
    "example.com/.dots/myimage",
    "example.com/nodouble..dots/myimage",
    "docker./docker",
    ".docker/docker",
    "docker-/docker",
    "do..cker/docker",
    "do__cker:8080/docker",
    "Foo/FarB",
    "registry.com:8080/myapp@sha256:badbadbadbad",
    "registry.com:8080/myapp:invalid~tag",
    "bad_hostname.com:8080/myapp:tag",
    f"localhost:http/name@{F256}",
    "registry.com:8080/myapp@bad",
    "registry.com:8080/myapp@2bad",
    "[fd00:1:2::3]75050/repo",
    "[fd00:1:2::3]::75050/repo",
    "fd00:1:2::3:75050/repo",
    "-ab.com/repo",
    "ab-.com/repo",
    "ab.-com/repo",
    "repo\n",
    "répo",
]

PARSED = [
    "docker/docker",
    "library/debian",
    "debian",
    "docker.io/docker/docker",
    "docker.io/library/debian",
    "docker.io/debian",
    "index.docker.io/docker/docker",
    "index.docker.io/library/debian",
    "index.docker.io/debian",
    "127.0.0.1:5000/docker/docker",
    "127.0.0.1:5000/library/debian",
    "127.0.0.1:5000/debian",
    "192.168.0.1",
    "192.168.0.1:80",
    "192.168.0.1:8/debian",
    "192.168.0.2:25000/debian",
    "thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev",
    "[fc00::1]:5000/docker",
    "[fc00::1]:5000/docker/docker",
    "[fc00:1:2:3:4:5:6:7]:5000/library/debian",
    "docker.io/1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a",
    "Docker/docker",
    "DOCKER/docker",
    "docker-rules/docker",
    "docker---rules/docker",
    "doc/docker",
    "d/docker",
    "jess/t",
    "dock__er/docker",
]

NOT_PARSED = [
    "https://github.com/docker/docker",
    "docker/Docker",
    "-docker",
    "-docker/docker",
    "-docker.io/docker/docker",
    "docker///docker",
    "docker.io/docker/Docker",
    "docker.io/docker///docker",
    "[fc00::1]",
    "[fc00::1]:5000",
    "fc00::1:5000/debian",
    "[fe80::1%eth0]:5000/debian",
    "[2001:db8:3:4::192.0.2.33]:5000/debian",
    "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a",
    "docker-/docker",
    "-docker-/docker",
    "____/____",
    "_docker/_docker",
    "dock..er/docker",
    "dock_.er/docker",
    "dock-.er/docker",
    "docker/",
    f"{LONG}/docker",
    "-foo",
    "",
    "x" * 100_000,
]

# what people write, the whole name, the domain, the path; further ways to write it
NAMES = [
    ("fooo/bar", "docker.io/fooo/bar", "docker.io", "fooo/bar", "index.docker.io/fooo/bar"),
    ("ubuntu", "docker.io/library/ubuntu", "docker.io", "library/ubuntu", "library/ubuntu"),
    ("nonlibrary/ubuntu", "docker.io/nonlibrary/ubuntu", "docker.io", "nonlibrary/ubuntu", None),
    ("other/library", "docker.io/other/library", "docker.io", "other/library", None),
    ("127.0.0.1:8000/private/moonbase", "127.0.0.1:8000/private/moonbase", "127.0.0.1:8000", "private/moonbase", None),
    ("127.0.0.1:8000/privatebase", "127.0.0.1:8000/privatebase", "127.0.0.1:8000", "privatebase", None),
    ("example.com/private/moonbase", "example.com/private/moonbase", "example.com", "private/moonbase", None),
    ("example.com/privatebase", "example.com/privatebase", "example.com", "privatebase", None),
    ("example.com:8000/privatebasee", "example.com:8000/privatebasee", "example.com:8000", "privatebasee", None),
    ("ubuntu-12.04-base", "docker.io/library/ubuntu-12.04-base", "docker.io", "library/ubuntu-12.04-base", None),
    ("foo", "docker.io/library/foo", "docker.io", "library/foo", "docker.io/foo"),
    ("library/foo/bar", "docker.io/library/foo/bar", "docker.io", "library/foo/bar", None),
    ("store/foo/bar", "docker.io/store/foo/bar", "docker.io", "store/foo/bar", None),
    ("Foo/bar", "Foo/bar", "Foo", "bar", None),
    ("FOO/bar", "FOO/bar", "FOO", "bar", None),
    ("test_com/foo", "docker.io/test_com/foo", "docker.io", "test_com/foo", None),
    ("xn--n3h.com:18080/foo", "xn--n3h.com:18080/foo", "xn--n3h.com:18080", "foo", None),
    ("localhost/foo", "localhost/foo", "localhost", "foo", None),
]


@pytest.mark.parametrize(("text", "domain", "path", "version", "digest"), READ)
def test_a_reference_is_read_as_it_is_written(
    text: str, domain: str, path: str, version: str | None, digest: str | None
) -> None:
    found = ImageReference.read(text)

    expected = None if digest is None else Digest.parse(digest)
    assert (domain, path, version, expected) == (found.domain, found.path, found.tag, found.digest)
    assert text == str(found)


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        ImageReference.read(text)

    assert text.startswith(caught.value.text[:200])


@pytest.mark.parametrize("text", PARSED)
def test_what_people_write_is_parsed(text: str) -> None:
    assert ImageReference.parse(text).domain


@pytest.mark.parametrize("text", NOT_PARSED)
def test_invalid_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        ImageReference.parse(text)


@pytest.mark.parametrize(("familiar", "name", "domain", "path", "other"), NAMES)
def test_all_ways_to_write_a_name_mean_the_same(
    familiar: str, name: str, domain: str, path: str, other: str | None
) -> None:
    for text in filter(None, (familiar, name, other)):
        found = ImageReference.parse(text)

        assert (name, domain, path) == (str(found), found.domain, found.path)
        assert familiar == found.familiar


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        (f"redis@sha256:{HEX}", f"docker.io/library/redis@sha256:{HEX}"),
        (f"dmcgowan/myapp@sha256:{HEX}", f"docker.io/dmcgowan/myapp@sha256:{HEX}"),
        (f"busybox:latest@sha256:{HEX}", f"docker.io/library/busybox:latest@sha256:{HEX}"),
        ("docker.io/mcgowan/myapp:latest", "docker.io/mcgowan/myapp:latest"),
        ("dbcc1", "docker.io/library/dbcc1:latest"),
        (HEX[:-1], f"docker.io/library/{HEX[:-1]}:latest"),
    ],
)
def test_a_name_is_completed(text: str, whole: str) -> None:
    assert whole == normalise(text)
    assert whole == normalise(whole)


def test_a_digest_that_is_none_says_why() -> None:
    with pytest.raises(InvalidDigest):
        ImageReference.read("repo@sha256:" + "f" * 34)
    with pytest.raises(UnsupportedAlgorithm):
        ImageReference.read("validname@invaliddigest:" + "f" * 64)
    with pytest.raises(InvalidDigest):
        ImageReference.read("validname@sha256:" + "F" * 64)


def test_an_upper_case_repository_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidReference, match="lower case"):
        ImageReference.parse("docker/Docker:Tag")


def test_tag_and_digest_are_replaced() -> None:
    name = ImageReference.parse("test.com:8000/foo")

    assert f"test.com:8000/foo:TAG5@{F256}" == str(name.with_digest(F256).with_tag("TAG5"))
    assert f"test.com:8000/foo@{F256}" == str(name.with_digest(F256).complete())
    for wrong in ("-foo", "", "a b", "a" * 129, "a\n"):
        with pytest.raises(InvalidReference):
            name.with_tag(wrong)
    with pytest.raises(InvalidDigest):
        name.with_digest("foo")


def test_an_object_names_a_tag_a_digest_or_both() -> None:
    assert ("v1", None) == parse_object("v1")
    assert (None, Digest.parse(F256)) == parse_object(f"@{F256}")
    assert ("v1", Digest.parse(F256)) == parse_object(f"v1@{F256}")
    for wrong in ("", "@", "a/b", "v1@", f"-v1@{F256}", "v1@sha256:00"):
        with pytest.raises(InvalidArgument):
            parse_object(wrong)


PARTS = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,5})?", fullmatch=True)


@given(
    st.sampled_from(["docker.io", "localhost", "example.com", "example.com:5000", "[::1]:5000", "Host"]),
    st.lists(PARTS, min_size=1, max_size=4),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | st.just(Digest.parse(F256)),
)
def test_familiar_and_whole_text_come_back(
    domain: str, parts: list[str], version: str | None, digest: Digest | None
) -> None:
    path = "/".join(["library", *parts] if domain == "docker.io" and len(parts) == 1 else parts)
    found = ImageReference(domain=domain, path=path, tag=version, digest=digest)

    assert found == ImageReference.parse(str(found))
    assert found == ImageReference.parse(found.familiar)


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = ImageReference.parse(text)
    except (InvalidReference, InvalidDigest):
        return
    assert found == ImageReference.parse(str(found))
