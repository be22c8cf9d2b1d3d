"""Whether a device held its clocks down while it was timed: what two readings of its sensors say.

Pure; a trial reads the sensors before and after its timed turns and asks here for a sentence about them.
"""

from everforge.model.evaluation import DeviceReading

# Below it a drop is the ordinary play of a boost clock; the speedup of interleaved turns hardly feels either.
CLOCK_DROP = 0.10

# NVML's names, those of the xe and i915 drivers, and those of the x86 kernel, for heat and for power or current.
_HEAT = ("thermal", "prochot", "ratl", "hardware_slowdown")
_POWER = ("power", "pl1", "pl2", "pl4", "psys", "iccmax", "vr_tdc", "fastvmode")


def throttling_note(before: DeviceReading, after: DeviceReading) -> str | None:
    """One sentence if the device said it held its clocks down, or if its clock fell by more than 10 %; else None.

    A clock that is low because the device is idle again tells nothing about the calls that were timed.
    """
    reasons = tuple(dict.fromkeys(before.throttled_by + after.throttled_by))
    held = [reason for reason in reasons if any(part in reason for part in _HEAT + _POWER)]
    if held:
        return f"the device held its clocks down while it was timed: {', '.join(held)}"
    if before.clock_mhz is None or after.clock_mhz is None or "idle" in after.throttled_by:
        return None
    if after.clock_mhz >= (1 - CLOCK_DROP) * before.clock_mhz:
        return None
    return f"the device's clock fell from {before.clock_mhz:.0f} to {after.clock_mhz:.0f} MHz while it was timed"
