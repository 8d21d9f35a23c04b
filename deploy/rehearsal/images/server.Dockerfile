FROM rehearsal/busybox
COPY temporal-server /usr/local/bin/
COPY server-entrypoint /etc/temporal/entrypoint.sh
WORKDIR /etc/temporal
USER temporal
CMD ["/etc/temporal/entrypoint.sh"]
