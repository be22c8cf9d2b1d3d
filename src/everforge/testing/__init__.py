"""Shipped to users: contract tests for the ports, fakes, and builders of valid records."""
