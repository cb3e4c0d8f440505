#!/bin/sh
# Writes .env for docker-compose.yml, with random secrets. Readable for its owner alone; never over one that is there.
#
#     sh deploy/init.sh [FILE]
set -eu

file=${1:-$(dirname -- "$0")/../.env}

random() { # so many bytes, as hexadecimal digits
    digits=$(od -An -v -tx1 -N"$1" /dev/urandom | tr -d ' \n')
    [ "${#digits}" -eq $(($1 * 2)) ] || {
        echo "init.sh: /dev/urandom gives nothing" >&2
        exit 1
    }
    printf %s "$digits"
}

if [ -e "$file" ] || [ -L "$file" ]; then
    echo "init.sh: $file is there, and stays as it is. What it lacks, docker compose names; .env.example lists all there is." >&2
    exit 1
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
exec 3>"$file"    # or it ends here
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
END
trap - INT TERM HUP
echo "init.sh: $file has new secrets. Next: docker compose up -d"
