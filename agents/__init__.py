"""Agents: generators of candidates and the loop of a campaign. No torch here, and no device."""
