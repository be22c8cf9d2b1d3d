"""Everforge keeps the GPU kernels of inference fleets fast.

The package is a set of rooms: the shared ones live here, `agents` and `runners` are links to the
directories of those names at the root of the repository.
"""

__version__ = "0.1.0"
