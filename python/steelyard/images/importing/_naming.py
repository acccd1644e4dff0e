"""Selecting the images of a source, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidDocument, InvalidReference, NotFound, SteelyardError
from steelyard.images.documents import OCIDescriptor
from steelyard.images.layout._names import IMAGE_NAME, REF_NAME
from steelyard.images.reference import DEFAULT_TAG, ImageReference, normalise, parse_object

__all__ = ("Contents", "Naming", "Plan", "Root", "plan")


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """The naming of images of a source, in addition to the names in the source.

    Attributes:
        base_name: a repository for images that have only a tag; names in other repositories are left out.
        prefix: a repository for images that have only a tag; names in other repositories are kept.
        digests: also name each image by its digest, ``repository@digest``: in `base_name`, in `prefix`, or in the repositories
            of its other names.
        skip_digest_for_named: do so only for images without another name.
        index_name: a name for the source's own index.

    Raises:
        InvalidReference: a name is invalid, or a repository has a tag or a digest.
        InvalidArgument: `base_name` and `prefix` are both given.
    """

    base_name: str | None = None
    prefix: str | None = None
    digests: bool = False
    skip_digest_for_named: bool = False
    index_name: str | None = None

    def __post_init__(self) -> None:
        if self.base_name is not None and self.prefix is not None:
            raise InvalidArgument("base_name and prefix: expected at most one of them")
        if self.index_name is not None:
            normalise(self.index_name)
        _ = self.repository

    @property
    def repository(self) -> str | None:
        """The repository for images that have only a tag or a digest."""
        text = self.prefix if self.base_name is None else self.base_name
        if text is None:
            return None
        found = ImageReference.parse(text)
        if found.tag or found.digest:
            raise InvalidReference(text, reason="expected a repository, without tag and digest")
        return found.name


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """An image of a source.

    Attributes:
        descriptor: its index or manifest.
        names: its full names in the source.
        tag: its tag, if the source gives no repository, or None.
        beside: its tag in addition to a full name, or None.
    """

    descriptor: OCIDescriptor
    names: tuple[str, ...] = ()
    tag: str | None = None
    beside: str | None = None

    @classmethod
    def of(cls, descriptor: OCIDescriptor) -> Root:
        """Return the image of an entry of an index, by its annotations.

        Invalid names are ignored: OCI allows any text there.
        """
        annotations = descriptor.annotations or {}
        text = annotations.get(IMAGE_NAME) or annotations.get(REF_NAME) or ""
        kept = {key: value for key, value in annotations.items() if key not in {IMAGE_NAME, REF_NAME}}
        bare = msgspec.structs.replace(descriptor, annotations=kept or None)
        try:
            if "/" in text or ":" in text:
                return cls(descriptor=bare, names=(normalise(text),), beside=_tag(annotations.get(REF_NAME)))
            return cls(descriptor=bare, tag=parse_object(text)[0])
        except SteelyardError:
            return cls(descriptor=bare)


def _tag(text: str | None) -> str | None:
    try:
        return parse_object(text)[0] if text else None
    except SteelyardError:
        return None


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The images of a source.

    Attributes:
        roots: its images.
        index: the bytes of an index of them.
        name: the name of that index in errors.
        made: the bytes of manifests that the import made, by digest.
        strays: blobs that the import stored, but that are not in the layout's directory of blobs.
    """

    roots: tuple[Root, ...]
    index: bytes
    name: str
    made: dict[str, bytes] = {}
    strays: frozenset[Digest] = frozenset()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The names to be set.

    Attributes:
        images: the selected images, each with its names.
        moves: whether the caller gave the names, so that they may replace existing names.
        index_name: the name of the index, or None.
    """

    images: tuple[tuple[OCIDescriptor, tuple[str, ...]], ...]
    moves: bool
    index_name: str | None


def plan(contents: Contents, name: str | None, naming: Naming) -> Plan:
    """Select the images and their names.

    Raises:
        NotFound: no image has that digest.
        InvalidArgument: `name` fits several images.
        InvalidDocument: two images have the same name.
    """
    contents = msgspec.structs.replace(contents, roots=_apart(contents.roots))
    index_name = None if naming.index_name is None else normalise(naming.index_name)
    if name is not None:
        if naming.repository is not None:
            raise InvalidArgument("name: expected no base_name and no prefix with it")
        return _one(contents, ImageReference.parse(name), naming, index_name)
    images: dict[str, tuple[OCIDescriptor, dict[str, None]]] = {}
    owners: dict[str, str] = {}
    for root in contents.roots:
        names = _names(root, naming)
        for each in names:
            if owners.setdefault(each, root.descriptor.digest) != root.descriptor.digest:
                choices = _choices(each, (root for root in contents.roots if each in _names(root, naming)))
                raise InvalidDocument(
                    contents.name,
                    expected=f"one image named {each}",
                    actual=f"several: name one of them, as {choices}",
                )
        _, known = images.setdefault(root.descriptor.digest, (root.descriptor, {}))
        known.update(dict.fromkeys(names))
    found = tuple((descriptor, _with_digest(descriptor, names, naming)) for descriptor, names in images.values())
    return Plan(images=found, moves=False, index_name=index_name)


def _apart(roots: Sequence[Root]) -> tuple[Root, ...]:
    """Return the roots with distinct names.

    Programs that build an image from another one copy its annotations, including its full name, and give the new image its own
    tag. So if several images have the same full name, each is named by its own tag in that repository.
    """
    holders: dict[str, set[str]] = {}
    for root in roots:
        for name in root.names:
            holders.setdefault(name, set()).add(root.descriptor.digest)
    shared = {name for name, digests in holders.items() if len(digests) > 1}

    def own(root: Root, name: str) -> str:
        return f"{_repository(name)}:{root.beside}" if name in shared and root.beside else name

    return tuple(msgspec.structs.replace(root, names=tuple(own(root, name) for name in root.names)) for root in roots)


def _choices(name: str, roots: Iterable[Root]) -> str:
    """Return names by which a caller can select one of these, for an error."""
    return " or ".join(sorted({f"{name}@{root.descriptor.digest}" for root in roots})[:10])


def _names(root: Root, naming: Naming) -> list[str]:
    names = [each for each in root.names if naming.base_name is None or _repository(each) == naming.repository]
    if root.tag is not None and naming.repository is not None:
        names.append(f"{naming.repository}:{root.tag}")
    return names


def _with_digest(descriptor: OCIDescriptor, names: Iterable[str], naming: Naming) -> tuple[str, ...]:
    names = list(names)
    if naming.digests and not (names and naming.skip_digest_for_named):
        repositories = [_repository(each) for each in names] if naming.repository is None else [naming.repository]
        names += [f"{each}@{descriptor.digest}" for each in repositories]
    return tuple(dict.fromkeys(names))


def _one(contents: Contents, wanted: ImageReference, naming: Naming, index_name: str | None) -> Plan:
    """Give the caller's name to one image, which is selected by its digest, name or tag, or is the only image."""
    full = str(wanted.complete())
    different = {root.descriptor.digest: root for root in contents.roots}
    if wanted.digest is not None:
        different = {key: root for key, root in different.items() if key == str(wanted.digest)}
        if not different:
            raise NotFound(f"{wanted.digest} in {contents.name}", kind="image")
    elif len(different) > 1:
        tag = wanted.tag or DEFAULT_TAG
        named = [root for root in contents.roots if full in root.names]
        named = named or [root for root in contents.roots if root.tag == tag]
        different = {root.descriptor.digest: root for root in named}
        if len(different) != 1:
            found = _choices(full, contents.roots)
            raise InvalidArgument(f"name {full}: expected @digest with it to select an image: {found}")
    if not different:
        raise NotFound(f"{full} in {contents.name}: it is empty", kind="image")
    ((_, root),) = different.items()
    names = _with_digest(root.descriptor, [full], naming)
    return Plan(images=((root.descriptor, names),), moves=True, index_name=index_name)


def _repository(name: str) -> str:
    return ImageReference.parse(name).name
