"""Tests of `steelyard-bench` below the command line."""
