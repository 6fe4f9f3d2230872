"""The parts of `ddr serve`: listening sockets, the supervisor, the worker process, its log."""
