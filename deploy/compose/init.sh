#!/bin/sh
# The recorder's own role, without any right beyond its database; its password appears in no process list, and no value of its
# statements in the server's log.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" <<'SQL'
\set password `cat "$DDR_PASSWORD_FILE"`
CREATE ROLE ddr LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
ALTER ROLE ddr SET log_parameter_max_length = 0;
ALTER ROLE ddr SET log_error_verbosity = terse;
CREATE DATABASE ddr OWNER ddr ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT ON DATABASE ddr FROM PUBLIC;
SQL
