# What stands around the shop: a mail server, a pooler, a proxy. A mirror that is a snapshot has an expired date.
FROM rehearsal/forky
RUN apt-get -qq -o Acquire::Check-Valid-Until=false update && \
    apt-get -qq install -y --no-install-recommends exim4-daemon-light pgbouncer caddy curl >/dev/null
