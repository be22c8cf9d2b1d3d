"""Runners: compile, verify and time candidates on a device. Needs torch, triton and pydantic alone."""
