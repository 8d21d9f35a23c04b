FROM rehearsal/busybox
COPY otelcol-contrib /otelcol-contrib
USER 10001
EXPOSE 4318
ENTRYPOINT ["/otelcol-contrib"]
