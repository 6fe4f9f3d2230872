"""Clients and caches for BfArM's registries: DiGA-VZ, HIIS-VZ and ZTS."""
