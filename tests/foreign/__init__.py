"""Images by programs that we did not write, into a store and out of it again."""
