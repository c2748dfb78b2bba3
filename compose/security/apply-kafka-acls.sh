#!/bin/sh
# Gives the users of kafka-acls.txt their rights; again does no harm.
#   apply-kafka-acls.sh BOOTSTRAP_SERVERS ADMIN_PROPERTIES
# Runs where kafka-acls.sh is on PATH (the image apache/kafka: /opt/kafka/bin).
set -euf  # f: the name * stays a star
grep -v '^#' "$(dirname "$0")/kafka-acls.txt" | while read -r user operation resource name; do
    kafka-acls.sh --bootstrap-server "$1" --command-config "$2" --add --force \
        --allow-principal "User:$user" --operation "$operation" $([ "$resource" = cluster ] && echo --cluster || echo "--$resource $name")
done
