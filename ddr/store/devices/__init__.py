"""Devices, sensors and calibration epochs as a gateway registers them."""
