#!/bin/sh
# Writes .env for docker-compose.yml, with random secrets. Readable for its owner alone; never over one that is there: of that
# it only says whether a secret is missing.
#
#     sh deploy/init.sh [FILE]
set -eu

file=${1:-$(dirname -- "$0")/../.env}
secrets="API_KEY WEBHOOK_SECRET MINIO_ACCESS_KEY MINIO_SECRET_KEY KAFKA_CLUSTER_ID"

fail() {
    echo "init.sh: $1" >&2
    exit 1
}

random() { # so many bytes, as hexadecimal digits
    digits=$(od -An -v -tx1 -N"$1" /dev/urandom | tr -d ' \n')
    [ "${#digits}" -eq $(($1 * 2)) ] || fail "/dev/urandom gives nothing"
    printf %s "$digits"
}

if [ -e "$file" ] || [ -L "$file" ]; then
    old="$file is there, and stays as it is"
    [ -r "$file" ] || fail "$old, but cannot be read"
    missing=
    for name in $secrets; do # as Compose reads it: maybe exported, maybe in quotes
        grep -Eq -- "^ *(export +)?$name *= *[\"']?[^\"'#[:space:]]" "$file" || missing="$missing $name"
    done
    [ -z "$missing" ] || fail "$old, but it lacks$missing; .env.example says what each is"
    echo "init.sh: $old: it has every secret. Next: docker compose up -d"
    exit 0
fi

api_key=$(random 32)
# Hexadecimal digits are base64 as well: 64 of them are 48 bytes to whoever verifies a webhook.
webhook_secret=whsec_$(random 32)
minio_access_key=turnstream-$(random 8)
minio_secret_key=$(random 32)
# 16 bytes in base64 without padding: the last character has only two bits to say.
cluster_id=$(random 11)
cluster_id=${cluster_id%?}A

umask 077
set -C            # > makes a file, and takes none that has come meanwhile
{ command exec 3>"$file"; } 2>/dev/null || fail "cannot make $file: its folder is missing or not yours, or it has just come"
trap 'rm -f -- "$file"; exit 1' INT TERM HUP
cat >&3 <<END || { rm -f -- "$file"; exit 1; }
# Secrets of this stack, made by deploy/init.sh. Keep a copy: what lies in MinIO opens with these keys only.
# All other settings, each with a sentence: .env.example

# What callers send as x-api-key; several are separated by commas.
API_KEY=$api_key
# Signs webhooks; give it to whoever receives them.
WEBHOOK_SECRET=$webhook_secret
# The keys of MinIO, whose root user they are.
MINIO_ACCESS_KEY=$minio_access_key
MINIO_SECRET_KEY=$minio_secret_key
# Names the Kafka cluster to its own disk: never to be changed.
KAFKA_CLUSTER_ID=$cluster_id

# On a machine without a GPU, before the first build: an index with CPU builds of torch, which make the worker's image 2 GB
# instead of 6 GB. docs/production.md says where its address is found.
#TORCH_INDEX=
END
trap - INT TERM HUP
echo "init.sh: $file has new secrets. Without a GPU set TORCH_INDEX there as well. Next: docker compose up -d"
