# Like Alpine, on which the images of Temporal, mailpit and Prometheus are built: shell and tools are those of busybox,
# except nc, which has no -z in Debian's busybox.
FROM rehearsal/trixie
RUN mkdir /busybox && busybox --install -s /busybox && rm /busybox/nc && groupadd --gid 1000 temporal && useradd --uid 1000 --gid 1000 temporal
ENV PATH=/usr/local/bin:/busybox:/usr/bin:/bin
