# The engine in one container: `docker build -t callwarden .`, then see docker-compose.yml.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/callwarden && /opt/callwarden/bin/pip install --no-cache-dir .

FROM python:3.12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ffmpeg \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --uid 10001 callwarden \
 && install -d -o callwarden -g callwarden -m 0700 /var/lib/callwarden
COPY --from=build /opt/callwarden /opt/callwarden
USER callwarden
ENV PATH=/opt/callwarden/bin:$PATH \
    CALLWARDEN_DATA=/var/lib/callwarden \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
VOLUME /var/lib/callwarden
EXPOSE 5060/udp 5060/tcp 8080/tcp 20000-20255/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=90s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["callwarden"]
CMD ["up", "--sip", "0.0.0.0:5060", "--http", "0.0.0.0:8080"]
