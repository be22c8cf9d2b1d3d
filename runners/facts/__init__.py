"""What is known of a task before any candidate: its graph, its work, its degeneracies, its held-out shapes."""
