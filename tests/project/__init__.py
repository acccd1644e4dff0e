"""The project itself: imports, public names, docs, examples, house rules, and the run of the tests."""
