"""What is right: the reference in float64, cases, and the tolerance that eager PyTorch itself sets."""
