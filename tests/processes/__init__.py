"""Processes around a store: forks, kills, signals, suspension, and limits of threads."""
