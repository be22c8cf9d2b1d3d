"""Search policies tried out where the answer is known: simulated models on landscapes of ideas; no device, no model."""
