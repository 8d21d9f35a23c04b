#!/bin/sh
# Creates the shop's namespace in Temporal, with its retention and search attributes. A second run changes nothing.
# The attributes are those of workflows/engine/search_attributes.py. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE are
# Temporal's own variables.
set -eu

namespace=${TEMPORAL_NAMESPACE:-default}
retention=${RETENTION:-30d}
attributes='OrderId CustomerId SagaState FailedStep Outcome FailureType WaitingFor'

wait_for() { # description, command: retries the command until it succeeds
    what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt "${TRIES:-60}" ] || { echo "Temporal: could not $what (attempts: $tries)" >&2; exit 1; }
        sleep 2
    done
}

wait_for 'reach the server' temporal operator cluster health

if temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1; then
    temporal operator namespace update --namespace "$namespace" --retention "$retention"
else
    temporal operator namespace create --namespace "$namespace" --retention "$retention"
fi

wait_for "find the namespace $namespace" temporal operator search-attribute list --namespace "$namespace"
known=$(temporal operator search-attribute list --namespace "$namespace")
for name in $attributes; do
    printf '%s\n' "$known" | grep -qw "$name" ||
        temporal operator search-attribute create --namespace "$namespace" --name "$name" --type Keyword
done

# Workers need the attributes in queries, which the server accepts some seconds later.
for name in $attributes; do
    wait_for "query runs by $name" \
        temporal workflow list --namespace "$namespace" --limit 1 --query "$name = 'nobody'"
done

# A server with a new address answers "Not enough hosts to serve the request" for up to two minutes, until it no longer
# counts on the old one. Its parts share runs and task queues, so several are asked for.
finds_no_run() {
    temporal workflow describe --namespace "$namespace" --workflow-id "$1" --command-timeout 5s 2>&1 |
        grep -q 'workflow not found'
}
for number in 1 2 3 4 5 6 7 8; do
    wait_for 'reach all parts of the server' finds_no_run "nobody-$number"
    wait_for 'reach all parts of the server' temporal task-queue describe --namespace "$namespace" \
        --task-queue "nobody-$number" --command-timeout 5s
done
echo "Temporal: namespace $namespace is ready and keeps closed runs for $retention"
