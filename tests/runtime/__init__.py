"""The layer between event loops and threads."""
