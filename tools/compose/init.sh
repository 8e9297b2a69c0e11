#!/bin/sh
# Prepares the folders of the other services, and changes nothing when there is nothing to do.
#
# Runs as root in the image of Postgres, which knows the number of its user `postgres`. It makes each secret once, at
# random, and gives every folder to who works in it. What does not fit together is refused, and nothing is removed.
set -eu
umask 077

volumes=/volumes
secrets=$volumes/secrets
data=$volumes/postgres/pgdata
user=$BODEGA_UID:$BODEGA_GID
postgres=$(id -u postgres):$(id -g postgres)

refuse() { # refuse WHAT NEXT
  printf 'init: %s\ninit: %s\ninit: Nothing was changed.\n' "$1" "$2" >&2
  exit 1
}

has_database() {
  [ -s "$data/PG_VERSION" ]
}

check_user() {
  case $BODEGA_UID$BODEGA_GID in
    *[!0-9]*) refuse "BODEGA_UID and BODEGA_GID are $user, and not two numbers" 'Correct them in .env.' ;;
  esac
  if [ "$BODEGA_UID" -eq 0 ]; then
    refuse 'BODEGA_UID is 0, and the services do not run as root' 'Choose another number in .env.'
  fi
}

check_database() {
  version=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
  found=$(cat "$data/PG_VERSION")
  [ "$found" = "$version" ] || refuse "volumes/postgres holds a database of Postgres $found, and this is $version" \
    "Move it to Postgres $version with pg_dumpall, or move volumes/postgres and volumes/models away and begin anew."
  # With another password than the database knows, nobody would get in any more.
  [ -s "$secrets/postgres/owner_password" ] || refuse \
    'volumes/postgres holds a database, but its secret volumes/secrets/postgres/owner_password is missing' \
    'Put volumes/secrets back from a backup.'
}

check_volume() {
  if [ -e "$volumes/models/bodega-store.json" ] || [ -e "$volumes/models/objects" ]; then
    refuse 'volumes/models holds the artifacts of a store, but there is no database in volumes/postgres' \
      'Put its volumes/postgres and volumes/secrets back, or move volumes/models away and begin anew.'
  fi
}

write_secret() { # write_secret FILE TEXT: whole or not at all, and never over one that is there
  [ -s "$secrets/$1" ] && return
  printf '%s\n' "$2" >"$secrets/$1.new"
  mv "$secrets/$1.new" "$secrets/$1"
  echo "init: made volumes/secrets/$1"
}

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

database_url() { # database_url ROLE PASSWORD
  echo "postgresql://$1:$2@postgres:5432/bodega"
}

make_secrets() {
  mkdir -p "$secrets/postgres" "$secrets/migrate" "$secrets/api" "$secrets/lab" "$secrets/admin"
  write_secret postgres/superuser_password "$(random)"
  write_secret postgres/owner_password "$(random)"
  write_secret migrate/bodega_database_url "$(database_url bodega_owner "$(cat "$secrets/postgres/owner_password")")"
  write_secret api/bodega_database_url "$(database_url bodega_api "$(random)")"
  write_secret lab/bodega_database_url "$(database_url bodega_lab "$(random)")"
  write_secret admin/bodega_database_url "$(database_url bodega_admin "$(random)")"
  write_secret lab/jupyter_token "$(random)"
}

own() { # own USER:GROUP FOLDER: a large folder whose owner is right is not gone through
  [ "$(stat -c %u:%g "$2")" = "$1" ] || chown -hR "$1" "$2"
}

give_folders() {
  mkdir -p "$data" "$volumes/lab"
  own "$postgres" "$data"
  own "$user" "$volumes/models"
  own "$user" "$volumes/lab"
  chown -R "$postgres" "$secrets/postgres"
  chown -R "$user" "$secrets/migrate" "$secrets/api" "$secrets/lab" "$secrets/admin"
  find "$secrets" -type d -exec chmod 700 {} + -o -type f -exec chmod 400 {} +
  share_notebooks
}

# The notebooks are files of the checkout, which its person edits and commits too: they keep their group, and the group
# may write. (Where the person's number is BODEGA_UID, nothing changes.)
share_notebooks() {
  find /notebooks -not -user "$BODEGA_UID" -exec chown -h "$BODEGA_UID" {} + -not -type l -exec chmod g+rwX {} +
  find /notebooks -type d -not -perm -2000 -user "$BODEGA_UID" -not -group "$BODEGA_GID" -exec chmod g+s {} +
}

check_user
if has_database; then check_database; else check_volume; fi
make_secrets
give_folders
echo 'init: the folders and secrets are ready'
