"""What `ddr serve` is made of: listening sockets, the supervisor, the worker process, its log."""
