FROM rehearsal/forky
RUN mkdir /busybox && busybox --install -s /busybox && mkdir -p /prometheus /etc/prometheus && chown nobody:nogroup /prometheus
ENV PATH=/usr/bin:/bin:/busybox
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
