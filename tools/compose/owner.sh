#!/bin/sh
# Makes the role that owns the catalog, once, when Postgres makes its data folder.
#
# It is no superuser: it may make the roles of the API and the lab (bodega_db.catalog.roles), and owns one database.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres \
  --set password="$(cat /run/secrets/owner_password)" <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
CREATE ROLE bodega_owner LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE bodega OWNER bodega_owner;
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
SQL
