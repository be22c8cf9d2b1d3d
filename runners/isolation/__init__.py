"""The walls around a candidate: a forked process in a jail, and the channel to it."""
