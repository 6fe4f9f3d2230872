"""How much one patient may register, so that no request has to change, and no answer has to show, too much.

Far above what a patient needs in years of use with a new sensor every ten days and a few calibrations a day.
"""

from __future__ import annotations

from ddr.gateway.problem import Problem

MOST_DEVICES = 1_000  # of a patient
MOST_SENSORS = 20  # of a device
MOST_CALIBRATIONS = 2_000  # of a sensor, without its registration
MOST_EPOCHS = 500  # of a sensor: changes of its calibration state
MOST_REGISTRATIONS = 500  # Device and DeviceMetric entries of one Bundle
MOST_REFERENCES = 500  # things known to the recorder, but not in the Bundle, that a Bundle refers to


def check_room(count: int, most: int, what: str) -> None:
    """Raise Problem 409 when one more than `count` would be more than `most`."""
    if count >= most:
        raise full(most, what)


def full(most: int, what: str) -> Problem:
    """409: the bound that was reached, in words."""
    return Problem(409, "limit", f"There can be at most {most} {what}")
