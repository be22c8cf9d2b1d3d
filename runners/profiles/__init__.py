"""Profiles: what the tools of each vendor export, read into the one record of `model/kernel_profile.py`."""
