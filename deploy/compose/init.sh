#!/bin/sh
# The recorder's own role, without any right beyond its database.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --set "password=$(cat "$DDR_PASSWORD_FILE")" <<SQL
CREATE ROLE ddr LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE ddr OWNER ddr ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT ON DATABASE ddr FROM PUBLIC;
SQL
