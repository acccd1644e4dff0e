"""Values and functions that no store is needed for: digests, hashes, filters."""
