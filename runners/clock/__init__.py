"""What is fast: turns, races, and what holds their times up."""
