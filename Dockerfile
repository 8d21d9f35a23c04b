# One image for the worker, the API and the commands. Build it with `docker compose build`.
# The tests run with this version of Python. To use another one: --build-arg PYTHON=3.13-slim-trixie.
ARG PYTHON=3.11-slim-trixie

FROM python:${PYTHON} AS build
COPY uv.txt /
RUN python -m venv /uv && /uv/bin/pip install --quiet --no-cache-dir --require-hashes --only-binary :all: -r /uv.txt
# Compiled files do not contain the time of their source, so the same commit gives the same files.
ENV UV_PROJECT_ENVIRONMENT=/app \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /src
# First what rarely changes: the locked packages, without the embedded servers and the packages for tests, and without
# what only those read who build packages or check types; mails are in English. All licences stay.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    /uv/bin/uv sync --quiet --locked --no-dev --no-install-project --python python && \
    find /app -path '*/babel/locale-data/*' ! -name 'en*' ! -name root.dat ! -name 'LICENSE*' -delete && \
    find /app -path '*/temporalio/bridge/sdk-core/*' -type f ! -name 'LICENSE*' -delete && \
    find /app -regextype posix-extended -regex '.*\.(pyi|pyx|pxd|c|cpp|h|hpp|rs)' -delete
COPY LICENSE README.md worker.py ./
COPY activities activities
COPY commerce commerce
COPY starter starter
COPY workflows workflows
COPY --chmod=755 deploy/image/answers /answers
COPY deploy/image/lighten.py /
# The cache may have a wheel of an earlier version of our code, so the project is always built again. lighten.py takes
# debug information and unused bytecode out. The time of this build is left out: in a file that uv writes, and of all
# files.
RUN --mount=type=cache,target=/root/.cache/uv \
    /uv/bin/uv sync --quiet --locked --no-dev --no-editable --reinstall-package durable-commerce --compile-bytecode \
        --python python && \
    sed -i '/uv_cache/d' /app/lib/python*/site-packages/durable_commerce-*.dist-info/RECORD && \
    rm /app/lib/python*/site-packages/durable_commerce-*.dist-info/uv_cache.json && \
    /app/bin/python -IB /lighten.py && \
    mkdir -p /image /volumes/data && mv /answers /app/bin && mv /app /image && \
    find /image /volumes -exec touch --no-dereference --date=2020-02-02 {} +

FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="durable-commerce" \
      org.opencontainers.image.description="The back office of a shop as durable processes" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
# The root file system can be read-only: everything writes to /tmp, and the stand-ins of the trial profile to /data.
COPY --from=build --chown=10001:10001 /volumes /
ENV PATH=/app/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    COMMERCE_DATA_DIR=/data \
    COMMERCE_LOG_FORMAT=json \
    COMMERCE_METRICS_ADDRESS=0.0.0.0:9464 \
    COMMERCE_API_HOST=0.0.0.0
WORKDIR /data
# A number instead of a name, so that orchestrators that refuse root can see that this is not root.
USER 10001:10001
EXPOSE 9000 9464
# A worker listens at the first address, an API at the second.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["answers", "http://127.0.0.1:9464/metrics", "http://127.0.0.1:9000/health/live"]
ENTRYPOINT ["commerce"]
CMD ["--help"]
