"""The tests: `unit` mirrors the package, `parity` compares with the originals, `e2e` uses it as people do."""
