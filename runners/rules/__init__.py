"""Static rules: what a source may not say, in Python and in the C++ or CUDA inside it."""
