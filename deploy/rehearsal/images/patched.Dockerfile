# The next build of the shop: its workers know one more step of order-processing, behind a patch.
FROM durable-commerce:0.1.0
COPY newer_worker.py /app/newer_worker.py
ENTRYPOINT ["sh", "-c", "[ \"$1\" != worker ] || exec python /app/newer_worker.py; exec commerce \"$@\"", "commerce"]
