"""The documents of a tree: an OCI artifact with a layer for each file.

A **manifest** with the artifact type `TREE` has a layer for each file, with the file's path in ``org.opencontainers.image.title``. The config
of the manifest, a small JSON document, lists the symbolic links and the empty directories. A large tree is an **index** of such manifests, each
with a part of the entries, in order. The encoding is fixed, so equal trees have equal digests.

Spec: OCI image specification, "Guidelines for Artifact Usage" and "Pre-Defined Annotation Keys".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from steelyard.digest import Digest
from steelyard.errors import InvalidDocument, UnsupportedAlgorithm
from steelyard.images.documents import Index, Manifest, OCIDescriptor
from steelyard.images.media_types import OCI_INDEX, OCI_MANIFEST
from steelyard.trees._entry import Entry, order_of, path_fault

__all__ = (
    "CONFIG",
    "EMPTY_LAYER",
    "TITLE",
    "TREE",
    "Config",
    "check_order",
    "check_tree",
    "encode_config",
    "encode_index",
    "encode_layer",
    "encode_manifest",
    "entries_of",
)

TREE = "application/vnd.steelyard.tree.v1"
"""The artifact type of the manifests and the index of a tree."""

CONFIG = "application/vnd.steelyard.tree.config.v1+json"
"""The media type of the config of a manifest."""

_FILE = "application/octet-stream"
EMPTY_LAYER = b"{}"
"""The bytes of the layer that OCI defines for a manifest without other layers."""

_EMPTY = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2,
}

TITLE = "org.opencontainers.image.title"
_EXECUTABLE = "vnd.steelyard.tree.executable"
_MTIME = "vnd.steelyard.tree.mtime"
_OWNER = "vnd.steelyard.tree.owner"
_UNPACK = "io.deis.oras.content.unpack"

_Nanoseconds: TypeAlias = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Number: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 32) - 2)]


class Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The entries of a manifest that are not files.

    Attributes:
        links: the target of each symbolic link, by its path.
        directories: the paths of empty directories.
    """

    links: dict[str, str] = {}
    directories: tuple[str, ...] = ()


class _Annotations(msgspec.Struct, omit_defaults=True, gc=False):
    title: str = msgspec.field(name=TITLE)
    executable: str | None = msgspec.field(default=None, name=_EXECUTABLE)
    mtime: str | None = msgspec.field(default=None, name=_MTIME)
    owner: str | None = msgspec.field(default=None, name=_OWNER)


class _Layer(msgspec.Struct, gc=False):
    media_type: str = msgspec.field(name="mediaType")
    digest: str
    size: int
    annotations: _Annotations


_encode = msgspec.json.Encoder().encode


def encode_layer(
    path: str,
    digest: str,
    size: int,
    *,
    is_executable: bool,
    mtime_ns: int | None = None,
    owner: tuple[int, int] | None = None,
) -> bytes:
    """Return the layer of a file."""
    annotations = _Annotations(
        path,
        "true" if is_executable else None,
        None if mtime_ns is None else str(mtime_ns),
        None if owner is None else "{}:{}".format(*owner),
    )
    return _encode(_Layer(_FILE, digest, size, annotations))


def encode_config(entries: Iterable[Entry]) -> bytes:
    """Return the config of a manifest with these links and directories, in order."""
    links, directories = {}, []
    for entry in entries:
        if entry.kind == "link":
            links[entry.path] = entry.target or ""
        else:
            directories.append(entry.path)
    return msgspec.json.encode(Config(links=links, directories=tuple(directories)))


def encode_manifest(config: Digest, size: int, layers: Sequence[msgspec.Raw]) -> bytes:
    """Return a manifest with these encoded layers, in order."""
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": TREE,
            "config": {"mediaType": CONFIG, "digest": str(config), "size": size},
            "layers": layers or [_EMPTY],
        }
    )


def encode_index(manifests: Sequence[tuple[Digest, int]]) -> bytes:
    """Return an index of these manifests, by digest and size, in order."""
    named = [
        {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": size, "artifactType": TREE}
        for digest, size in manifests
    ]
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": TREE, "manifests": named})


def entries_of(manifest: Manifest, config: Config, name: str) -> list[Entry]:
    """Return the entries of a manifest, in order.

    Args:
        manifest: the manifest, which may come from another program. Layers without a title are not files.
        config: its config; an empty one if the artifact has another type.
        name: the manifest's digest, for errors.

    Raises:
        InvalidDocument: an entry has no valid path, two entries have the same path, or an entry is below a file or a link.
    """
    entries = [
        _file(layer, title, name)
        for layer in manifest.layers or ()
        if (title := (layer.annotations or {}).get(TITLE)) is not None
    ]
    for path, target in config.links.items():
        _check_path(path, "link", name)
        if not target or "\0" in target:
            raise InvalidDocument(name, where=f"link {path!r}", expected="the target of a link", actual=repr(target))
        entries.append(Entry(path=path, kind="link", target=target))
    for path in config.directories:
        _check_path(path, "directory", name)
        entries.append(Entry(path=path, kind="directory"))
    entries.sort(key=lambda entry: order_of(entry.path))
    check_order(entries, name)
    return entries


def check_order(entries: Sequence[Entry], name: str) -> None:
    """Check that each entry comes after the one before it, and is not below a file or a link.

    Raises:
        InvalidDocument: an entry is out of order, or is below a file or a link.
    """
    keys = [order_of(entry.path) for entry in entries]
    for place in range(1, len(keys)):
        before, key = keys[place - 1], keys[place]
        if key > before and not key.startswith(before):
            continue
        last, entry = entries[place - 1], entries[place]
        where = f"entry {entry.path!r}"
        if key <= before:
            raise InvalidDocument(name, where=where, expected=f"a path after {last.path!r}", actual=entry.path)
        if last.kind != "directory" and key.startswith(before + b"\0"):
            raise InvalidDocument(name, where=where, expected=f"a directory at {last.path!r}", actual=f"a {last.kind}")


def _file(layer: OCIDescriptor, title: str, name: str) -> Entry:
    _check_path(title, "layer", name)
    annotations = layer.annotations or {}
    if len(annotations) == 1:
        return Entry(path=title, digest=_blob(layer, title, name), size=layer.size)
    where = f"layer {title!r}"
    if annotations.get(_UNPACK) == "true":
        raise InvalidDocument(
            name, where=where, expected="a file", actual="an archive of a directory, which is not unpacked"
        )
    return Entry(
        path=title,
        digest=_blob(layer, title, name),
        size=layer.size,
        executable=annotations.get(_EXECUTABLE) == "true",
        mtime_ns=_integer(annotations.get(_MTIME), where, name),
        owner=_owner(annotations.get(_OWNER), where, name),
    )


def _blob(layer: OCIDescriptor, title: str, name: str) -> Digest:
    try:
        return layer.blob
    except UnsupportedAlgorithm:
        where, expected = f"layer {title!r}", "a digest with a supported algorithm"
        raise InvalidDocument(name, where=where, expected=expected, actual=layer.digest) from None


def _check_path(path: str, kind: str, name: str) -> None:
    if (fault := path_fault(path)) is not None:
        where, expected = f"{kind} {path!r}", "a path below the root of the tree"
        raise InvalidDocument(name, where=where, expected=expected, actual=fault)


def _integer(text: str | None, where: str, name: str) -> int | None:
    if text is None:
        return None
    try:
        return msgspec.convert(text, _Nanoseconds, strict=False)
    except msgspec.ValidationError:
        raise InvalidDocument(name, where=where, expected="a time in nanoseconds", actual=repr(text)) from None


def _owner(text: str | None, where: str, name: str) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        return msgspec.convert(text.split(":"), tuple[_Number, _Number], strict=False)
    except msgspec.ValidationError:
        raise InvalidDocument(name, where=where, expected="a user and a group, N:N", actual=repr(text)) from None


def check_tree(document: Index | Manifest, name: str) -> None:
    """Check that a document is the root of a tree: it has the artifact type `TREE`, or is a manifest that has layers with titles.

    Raises:
        InvalidDocument: the document is not the root of a tree.
    """
    if isinstance(document, Index):
        if document.artifact_type != TREE:
            actual = document.artifact_type or "an index of images"
            raise InvalidDocument(name, expected=f"a tree, of the artifact type {TREE}", actual=actual)
        return
    if document.artifact_type != TREE and not any(TITLE in (each.annotations or {}) for each in document.layers or ()):
        raise InvalidDocument(
            name, expected=f"a tree: the artifact type {TREE}, or layers with titles", actual="an image without them"
        )
