"""The updates of SGD and Adam are loops: see expand.py."""
