"""Stand-ins for the outside world: registry server, sensor, gateway and DiGA."""
