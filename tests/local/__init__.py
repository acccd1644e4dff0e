"""LocalStore: its files, its threads, and how it opens and closes."""
