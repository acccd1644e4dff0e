"""The parts of a garbage collector that do not depend on where blobs are kept."""
