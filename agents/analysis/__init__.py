"""Performance analysis: what limits a candidate, proven by figures, and what would help. Pure; asks no model."""
