"""Stands before the real one on the path: what a machine without libseccomp answers."""

raise RuntimeError("Unable to find libseccomp")
