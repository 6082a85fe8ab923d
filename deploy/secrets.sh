#!/bin/sh
# Makes the secrets that docker-compose.yml mounts. Run it once, before `docker compose up`.
# What is there already is kept: a new signing key would make every stored model and snapshot unreadable.
set -eu
umask 077
root=$(cd "$(dirname "$0")/.." && pwd)
secrets=$root/deploy/secrets
mkdir -p "$secrets"
chmod 700 "$secrets"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
make() { [ -s "$secrets/$1" ] || random >"$secrets/$1"; }

make signing_key
make grafana_admin_password
# Grafana runs as a user of its own and must read this one; the directory keeps other users out.
chmod 444 "$secrets/grafana_admin_password"

# The containers run as the user who may read the signing key, and never as root.
if [ "$(id -u)" = 0 ]; then
    chown 10001:10001 "$secrets/signing_key"
elif ! grep -qs '^DRIFTLINE_USER=' "$root/.env"; then
    echo "DRIFTLINE_USER=$(id -u):$(id -g)" >>"$root/.env"
fi
echo "secrets are in $secrets; the Grafana password of user admin is in grafana_admin_password"
