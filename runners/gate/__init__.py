"""What is judged without a device: ahead-of-time compilation and interpretation of Triton kernels."""
