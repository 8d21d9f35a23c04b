# What stands around the shop: a mail server, a pooler, a proxy.
FROM rehearsal/forky
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends exim4-daemon-light pgbouncer caddy curl >/dev/null
