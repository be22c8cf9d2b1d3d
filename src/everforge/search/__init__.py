"""Search: pure decisions about what to try next; no effects, no clock of its own."""
