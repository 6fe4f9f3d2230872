"""What every wing stands on: pool, embedded server, migrations, locks, ids and digests."""
