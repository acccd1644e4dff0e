"""Trees: directories in a store. A tree is an OCI artifact, so names, exports, leases and collections treat it like an image.

`put_tree` stores a directory, `tree_of` opens a tree to read its entries, `checkout` writes a tree into a directory, and `diff` compares trees
and directories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard._lazy import exports as _exports

if TYPE_CHECKING:
    from steelyard.trees._checkout import CheckedOut as CheckedOut
    from steelyard.trees._checkout import checkout as checkout
    from steelyard.trees._diff import Change as Change
    from steelyard.trees._diff import diff as diff
    from steelyard.trees._entry import Entry as Entry
    from steelyard.trees._put import StoredTree as StoredTree
    from steelyard.trees._put import put_tree as put_tree
    from steelyard.trees._tree import Tree as Tree
    from steelyard.trees._tree import tree_of as tree_of
else:
    __getattr__, __dir__ = _exports(
        __name__,
        {
            "steelyard.trees._diff": "Change diff",
            "steelyard.trees._checkout": "CheckedOut checkout",
            "steelyard.trees._entry": "Entry",
            "steelyard.trees._put": "StoredTree put_tree",
            "steelyard.trees._tree": "Tree tree_of",
        },
    )

__all__ = ("Change", "CheckedOut", "Entry", "StoredTree", "Tree", "checkout", "diff", "put_tree", "tree_of")
