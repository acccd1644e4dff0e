"""Documents of images: what is read, what is kept, and what is refused with which words."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidDocument, LimitExceeded, UnsupportedAlgorithm
from steelyard.hashing import Hasher
from steelyard.images import (
    ImageConfig,
    Index,
    Limits,
    Manifest,
    OCIDescriptor,
    Platform,
    content_labels,
    is_non_distributable,
    kind_of,
    parse_document,
    parse_index,
    parse_layout,
    parse_saved_images,
    to_oci,
)
from steelyard.model import LABEL_LIMIT

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
A = "sha256:" + "a" * 64


def named(media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": A, "size": 3, **more}


def manifest(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": named(CONFIG), "layers": [named()], **more}


def parse(value: Any, media_type: str = MANIFEST, **options: Any) -> Any:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_document(raw, media_type, name="it", **options).view


def digest_of(data: bytes) -> str:
    hasher = Hasher("sha256")
    hasher.update(data)
    return str(hasher.digest())


def test_a_manifest_of_either_kind_names_its_config_and_layers() -> None:
    for media_type in (MANIFEST, DOCKER):
        view = parse(manifest(mediaType=media_type, annotations={"a": "b"}), media_type)

        assert isinstance(view, Manifest)
        assert [CONFIG, LAYER] == [child.media_type for child in view.children]
        assert {"a": "b"} == view.annotations


def test_an_index_of_either_kind_names_manifests_with_platforms() -> None:
    platform = {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1", "os.features": ["x"]}
    for media_type in (INDEX, DOCKER_LIST):
        value = {"schemaVersion": 2, "mediaType": media_type, "manifests": [named(MANIFEST, platform=platform)]}
        view = parse(value, media_type)

        assert isinstance(view, Index)
        expected = Platform(os="linux", architecture="arm", variant="v7", os_version="1", os_features=("x",))
        assert expected == view.children[0].platform


def test_a_config_has_its_platform_and_layers() -> None:
    rootfs = {"type": "layers", "diff_ids": [A]}
    view = parse({"os": "linux", "architecture": "x86_64", "rootfs": rootfs, "config": {"Env": ["A=1"]}}, CONFIG)

    assert isinstance(view, ImageConfig)
    assert "linux/amd64" == str(view.platform)
    assert (A,) == view.rootfs.diff_ids
    assert () == view.children


def test_what_go_writes_for_nothing_is_nothing() -> None:
    assert () == parse({"schemaVersion": 2, "manifests": None}, INDEX).children
    assert 1 == len(parse({"schemaVersion": 2, "config": named(CONFIG), "layers": None, "annotations": None}).children)
    assert "" == parse({"os": "", "architecture": "", "history": None}, CONFIG).os


def test_unknown_fields_are_kept_and_the_bytes_are_the_document() -> None:
    raw = (
        b'{ "schemaVersion": 2,  "layers":[], "config":'
        + json.dumps(named(CONFIG, new=[1])).encode()
        + b', "x": {"y":1}}\n'
    )
    document = parse_document(raw, MANIFEST)

    assert raw == document.raw
    assert {"y": 1} == document.value()["x"]
    assert [1] == document.value()["config"]["new"]


def test_what_is_no_document_of_ours_is_not_looked_at() -> None:
    assert parse_document(b"\x00 not JSON", "application/octet-stream").view is None


@pytest.mark.parametrize(
    ("value", "media_type", "where", "words"),
    [
        (b"", MANIFEST, "$", "JSON"),
        (b"{} {}", MANIFEST, "$", "JSON"),
        (b'{"a":1,"a":2}', MANIFEST, "$", "each key once"),
        (b'{"l":[{"a":1,"\\u0061":2}]}', MANIFEST, "$.l[0]", "each key once"),
        (b'\xef\xbb\xbf{"schemaVersion":2}', MANIFEST, "$", "JSON"),
        (b'{"schemaVersion":2,"x":"\xff"}', MANIFEST, "$", "JSON"),
        ([], MANIFEST, "$", "object"),
        ({}, MANIFEST, "$", "field"),
        ({"schemaVersion": 2, "layers": []}, MANIFEST, "$", "field config"),
        ({"schemaVersion": 2, "config": named(CONFIG)}, MANIFEST, "$", "field layers"),
        ({"schemaVersion": 2}, INDEX, "$", "field manifests"),
        (manifest(schemaVersion=1), MANIFEST, "$.schemaVersion", "int"),
        (manifest(mediaType=INDEX), MANIFEST, "$.mediaType", MANIFEST),
        (manifest(mediaType=MANIFEST), DOCKER, "$.mediaType", DOCKER),
        (manifest(manifests=[]), MANIFEST, "$", "a manifest only"),
        (manifest(manifests=[]), INDEX, "$", "an index only"),
        ({"schemaVersion": 2, "manifests": [], "layers": []}, INDEX, "$", "an index only"),
        ({"schemaVersion": 2, "manifests": [], "config": {}}, INDEX, "$", "an index only"),
        (manifest(fsLayers=[]), MANIFEST, "$", "a manifest only"),
        (manifest(Layers=[]), MANIFEST, "$", "the field layers"),
        (manifest(MANIFESTS=[]), MANIFEST, "$", "the field manifests"),
        (manifest(layers=[named(Size=4)]), MANIFEST, "$.layers[0]", "the field size"),
        (
            {"schemaVersion": 2, "manifests": [named(MANIFEST, platform={"OS": "linux"})]},
            INDEX,
            "$.manifests[0].platform",
            "os",
        ),
        (manifest(layers=[named(size=-1)]), MANIFEST, "$.layers[0].size", "int"),
        (manifest(layers=[named(size=1 << 63)]), MANIFEST, "$.layers[0].size", "int"),
        (manifest(layers=[named(size=1 << 70)]), MANIFEST, "$.layers[0].size", "int"),
        (manifest(layers=[named(size=1.5)]), MANIFEST, "$.layers[0].size", "int"),
        (manifest(layers=[named(size="3")]), MANIFEST, "$.layers[0].size", "int"),
        (manifest(layers=[named(size=None)]), MANIFEST, "$.layers[0].size", "int"),
        (manifest(layers=[named(digest="../../etc")]), MANIFEST, "$.layers[0].digest", "a digest"),
        (manifest(layers=[named(digest=A + "\n")]), MANIFEST, "$.layers[0].digest", "a digest"),
        (manifest(layers=[named("")]), MANIFEST, "$.layers[0].mediaType", "length"),
        (manifest(layers=[{"digest": A, "size": 3}]), MANIFEST, "$.layers[0]", "field mediaType"),
        (manifest(layers=[named(data="*")]), MANIFEST, "$.layers[0].data", "base64"),
    ],
)
def test_a_wrong_document_says_what_and_where(value: Any, media_type: str, where: str, words: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse(value, media_type)

    assert "it" == caught.value.name
    assert where == caught.value.where
    assert words in f"{caught.value.expected} {caught.value.actual}"


@pytest.mark.parametrize(
    ("value", "media_type", "where", "field"),
    [
        (manifest() | {"layer\u017f": []}, MANIFEST, "$", "layers"),
        (manifest() | {"manife\u017ft\u017f": []}, MANIFEST, "$", "manifests"),
        ({"schemaVersion": 2, "manifests": [], "\u017fubject": None}, INDEX, "$", "subject"),
        (manifest(layers=[named() | {"dige\u017ft": A}]), MANIFEST, "$.layers[0]", "digest"),
        (manifest(subject=named(Annotations={})), MANIFEST, "$.subject", "annotations"),
        ({"os": "linux", "OS": "windows"}, CONFIG, "$", "os"),
        ({"o\u017f.version": "1"}, CONFIG, "$", "os.version"),
        ({"rootfs": {"Diff_IDs": []}}, CONFIG, "$.rootfs", "diff_ids"),
        ({"config": {"env": []}}, CONFIG, "$.config", "Env"),
        ({"config": {"Healthcheck": {"te\u017ft": []}}}, CONFIG, "$.config.Healthcheck", "Test"),
        ({"history": [{}, {"Empty_Layer": True}]}, CONFIG, "$.history[1]", "empty_layer"),
        ([{"Config": "a", "config": "b"}], "saved", "$[0]", "Config"),
        ([{"Config": "a", "RepoTag\u017f": ["b"]}], "saved", "$[0]", "RepoTags"),
        ({"imageLayoutVersion": "1.0.0", "imagelayoutversion": "2.0.0"}, "layout", "$", "imageLayoutVersion"),
    ],
)
def test_a_known_field_has_one_spelling(value: Any, media_type: str, where: str, field: str) -> None:
    """Go's decoder folds case, that of U+017F and U+212A too, and takes the last of the fields that are alike then."""
    raw = json.dumps(value).encode()
    with pytest.raises(InvalidDocument) as caught:
        {"saved": parse_saved_images, "layout": parse_layout}.get(
            media_type, partial(parse_document, media_type=media_type)
        )(raw)

    assert (where, f"the field {field}") == (caught.value.where, caught.value.expected)


def test_keys_of_maps_have_any_spelling() -> None:
    odd = {"Layers": "1", "layers": "2", "DIGEST": "3", "o\u017f": "4"}
    parse(manifest(annotations=odd, layers=[named(annotations=odd)]))
    parse({"schemaVersion": 2, "manifests": [], "annotations": odd}, INDEX)
    run = {"Labels": odd, "Volumes": {"/env": {}, "ENV": {}}, "ExposedPorts": {"80/TCP": {}, "80/tcp": {}}}
    parse({"config": run, "container_config": {"env": 1}, "X": 1, "x": 2}, CONFIG)


@pytest.mark.parametrize(
    "digest",
    [
        A.upper(),
        "sha256:" + "A" * 64,
        A[:-1],
        A + "a",
        "sha512:" + "a" * 64,
        "sha384:" + "a" * 95,
        "blake3:" + "g" * 64,
        "sha256:",
    ],
)
def test_a_digest_that_a_store_computes_has_one_form(digest: str) -> None:
    for value, media_type in (
        (manifest(layers=[named(digest=digest)]), MANIFEST),
        ({"schemaVersion": 2, "manifests": [named(MANIFEST, digest=digest)]}, INDEX),
        ({"rootfs": {"diff_ids": [digest]}}, CONFIG),
    ):
        with pytest.raises(InvalidDocument, match="lower case"):
            parse(value, media_type)


def test_exactly_the_limit_is_fine_and_a_byte_more_is_not() -> None:
    raw = json.dumps(manifest()).encode()
    whole = raw + b" " * ((4 << 20) - len(raw))

    assert isinstance(parse(whole), Manifest)
    with pytest.raises(LimitExceeded) as caught:
        parse(whole + b" ")
    assert ("json_bytes", 4 << 20, (4 << 20) + 1) == (caught.value.limit, caught.value.allowed, caught.value.actual)
    with pytest.raises(LimitExceeded):
        parse(raw, limits=Limits(json_bytes=len(raw) - 1))


def test_depth_is_limited() -> None:
    def nested(depth: int) -> bytes:
        # The document is one level, too.
        return json.dumps(manifest())[:-1].encode() + b',"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert isinstance(parse(nested(100)), Manifest)
    for depth in (101, 200, 1_000_000):
        with pytest.raises(LimitExceeded) as caught:
            parse(nested(depth))
        assert ("depth", 100) == (caught.value.limit, caught.value.allowed)


def test_embedded_data_counts_only_when_size_and_digest_agree() -> None:
    def descriptor(data: bytes, *, size: int, digest: str) -> OCIDescriptor:
        value = {"mediaType": CONFIG, "digest": digest, "size": size, "data": base64.b64encode(data).decode()}
        return msgspec.convert(value, OCIDescriptor)

    assert b"{}" == descriptor(b"{}", size=2, digest=digest_of(b"{}")).embedded()
    assert descriptor(b"{}", size=3, digest=digest_of(b"{}")).embedded() is None
    assert descriptor(b"{}", size=2, digest=digest_of(b"[]")).embedded() is None
    assert descriptor(b"{}", size=2, digest="md5:99914b932bd37a50b983c5e7c90ae93b").embedded() is None
    assert OCIDescriptor(media_type=CONFIG, digest=A, size=2).embedded() is None


def test_a_digest_of_another_algorithm_is_carried_but_names_no_blob() -> None:
    child = parse(manifest(layers=[named(digest="md5:99914b932bd37a50b983c5e7c90ae93b")])).children[1]

    assert child.digest.startswith("md5:")
    with pytest.raises(UnsupportedAlgorithm):
        _ = child.blob


def test_urls_are_kept() -> None:
    assert ("https://example.com/x",) == parse(manifest(layers=[named(urls=["https://example.com/x"])])).layers[0].urls


def test_a_descriptor_becomes_the_target_of_a_name_and_back() -> None:
    annotations = {"a": "b", "long": "x" * LABEL_LIMIT, "containerd.io/gc.root": "kept: here it is no order"}
    wire = OCIDescriptor(media_type=MANIFEST, digest=A, size=3, annotations=annotations)
    target = wire.target

    assert (Digest.parse(A), 3, MANIFEST) == (target.digest, target.size, target.media_type)
    assert {"a", "containerd.io/gc.root"} == set(target.annotations)
    assert target == OCIDescriptor.of(target).target


def test_annotations_never_become_reserved_labels() -> None:
    annotations = {
        "containerd.io/gc.root": "x",
        "containerd.io/gc.ref.content.0": A,
        "Containerd.IO/x": "x",
        " containerd.io/x": "x",
        "nri.containerd.io/x": "x",
        "steelyard/x": "x",
        "containerd.io": "x",
        "": "x",
        "long": "x" * LABEL_LIMIT,
        "\ud800": "x",
        "org.opencontainers.image.title": "kept",
        "mycontainerd.io/x": "kept",
    }

    assert {"org.opencontainers.image.title": "kept", "mycontainerd.io/x": "kept"} == content_labels(annotations)
    assert 1 == len(content_labels(annotations, most=1))
    assert {} == content_labels(None)


def test_a_layout_is_of_version_1() -> None:
    assert "1.0.0" == parse_layout(b'{"imageLayoutVersion":"1.0.0"}').view.version
    for wrong in (b"{}", b'{"imageLayoutVersion":"2.0.0"}', b'{"imageLayoutVersion":1}', b"[]"):
        with pytest.raises(InvalidDocument) as caught:
            parse_layout(wrong)
        assert "oci-layout" == caught.value.name


def test_an_index_file_needs_no_media_type() -> None:
    assert () == parse_index(b'{"schemaVersion":2,"manifests":[]}').view.children
    with pytest.raises(InvalidDocument):
        parse_index(json.dumps({"schemaVersion": 2, "manifests": [], "mediaType": MANIFEST}).encode())


def test_saved_images_name_entries_of_their_archive() -> None:
    raw = b'[{"Config":"c.json","RepoTags":["a:1"],"Layers":["1/layer.tar"],"Parent":"x"},{"Config":"d.json","RepoTags":null}]'
    first, second = parse_saved_images(raw).view

    assert ("c.json", ("a:1",), ("1/layer.tar",)) == (first.config, first.repo_tags, first.layers)
    assert ("d.json", None, None) == (second.config, second.repo_tags, second.layers)
    with pytest.raises(InvalidDocument):
        parse_saved_images(b"{}")


@pytest.mark.parametrize(
    ("media_type", "kind", "oci"),
    [
        (INDEX, "index", INDEX),
        (DOCKER_LIST, "index", INDEX),
        (DOCKER, "manifest", MANIFEST),
        ("application/vnd.docker.container.image.v1+json", "config", CONFIG),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "layer", LAYER),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", "layer", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("application/vnd.oci.image.layer.v1.tar", "layer", "application/vnd.oci.image.layer.v1.tar"),
        ("application/vnd.in-toto+json", "other", "application/vnd.in-toto+json"),
    ],
)
def test_media_types_have_kinds_and_names_at_oci(media_type: str, kind: str, oci: str) -> None:
    assert kind == kind_of(media_type)
    assert oci == to_oci(media_type)
    assert "other" == kind_of(None)


def test_foreign_layers_are_known_by_both_names() -> None:
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

    assert is_non_distributable(foreign)
    assert is_non_distributable(to_oci(foreign))
    assert not is_non_distributable(LAYER)
    assert not is_non_distributable(None)


def test_a_limit_that_is_none_is_refused() -> None:
    for wrong in ({"json_bytes": 0}, {"depth": 121}, {"nodes": -1}):
        with pytest.raises(InvalidArgument):
            Limits(**wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["schemaVersion", "config", "layers", "manifests", "mediaType", "subject", "annotations"])


@given(
    st.dictionaries(FIELDS, JSON | st.just(2) | st.just(named()) | st.just([named()])),
    st.sampled_from([INDEX, MANIFEST, CONFIG]),
)
def test_any_json_is_read_or_refused(value: dict[str, Any], media_type: str) -> None:
    raw = json.dumps(value).encode()
    try:
        document = parse_document(raw, media_type)
    except (InvalidDocument, LimitExceeded):
        return
    assert raw == document.raw


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\0123tfn ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with pytest.raises((InvalidDocument, LimitExceeded)):
        parse_document(raw, MANIFEST)
