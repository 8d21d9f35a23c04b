FROM rehearsal/busybox
COPY ui-server /home/ui-server/ui-server
COPY config /home/ui-server/config
WORKDIR /home/ui-server
USER temporal
EXPOSE 8080
ENTRYPOINT ["./ui-server", "--env", "docker", "start"]
