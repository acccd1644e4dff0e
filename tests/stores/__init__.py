"""Behaviour that all stores share, and functions that use the interface only."""
