"""What a candidate did beside computing: functions it replaced, kernels it claimed."""
