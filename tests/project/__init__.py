"""The project itself: imports, public names, docs, examples, rules, and the run of the tests."""
