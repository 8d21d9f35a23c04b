#!/bin/sh
# Gives Temporal the shop's namespace, its retention and its search attributes; a second run changes nothing.
# The names are those of workflows/engine/search_attributes.py. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE are Temporal's own variables.
set -eu

namespace=${TEMPORAL_NAMESPACE:-default}
retention=${RETENTION:-30d}
attributes='OrderId CustomerId SagaState FailedStep Outcome'

await() { # words for people, then a command that is tried until it succeeds
    what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt "${TRIES:-60}" ] || { echo "Temporal: $what: not within $tries tries" >&2; exit 1; }
        sleep 2
    done
}

await 'the server answers' temporal operator cluster health

if temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1; then
    temporal operator namespace update --namespace "$namespace" --retention "$retention"
else
    temporal operator namespace create --namespace "$namespace" --retention "$retention"
fi

await "namespace $namespace is known" temporal operator search-attribute list --namespace "$namespace"
known=$(temporal operator search-attribute list --namespace "$namespace")
for name in $attributes; do
    printf '%s\n' "$known" | grep -qw "$name" ||
        temporal operator search-attribute create --namespace "$namespace" --name "$name" --type Keyword
done

# A worker may start when the server itself has taken notice, which takes it some seconds.
for name in $attributes; do
    await "runs can be found by $name" \
        temporal workflow list --namespace "$namespace" --limit 1 --query "$name = 'nobody'"
done
echo "Temporal: namespace $namespace is ready, closed runs are kept for $retention"
