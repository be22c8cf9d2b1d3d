"""Trees of tensors: how they lie in memory, cross to other processes and are compared."""
