"""The command line, as a person runs it: a subprocess on real files."""
