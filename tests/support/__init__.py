"""Shared parts of tests: makers of images and archives, children, disks, limits, and the guard of the run."""
