"""Mean power from counters of energy, which is how Linux tells the power of CPUs and of Intel GPUs.

`devices/cpu.py` and `devices/xpu.py` keep one meter for each device.
"""


class EnergyMeter:
    """Mean power between two looks at an energy counter."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def power_w(self, energy_uj: int | None, now_s: float) -> float | None:
        """Watts since the previous look; None at the first, or where the counter is hidden or began anew.

        `energy_uj` counts microjoules, `now_s` is monotonic.
        """
        last, self._last = self._last, None if energy_uj is None else (energy_uj, now_s)
        if last is None or energy_uj is None:
            return None
        joules, seconds = (energy_uj - last[0]) / 1e6, now_s - last[1]
        return joules / seconds if joules >= 0 and seconds > 0 else None
