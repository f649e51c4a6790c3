# The engine: `docker build -t callwarden .`, then see docker-compose.yml.
# Without the second SIP endpoint (PJSIP, GPL-2.0-or-later): `docker build --build-arg PJSUA2=no -t callwarden .`
ARG PJSUA2=yes

FROM python:3.12-slim-trixie AS pjsua2-no
RUN mkdir /wheels

FROM python:3.12-slim-trixie AS pjsua2-yes
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      build-essential dpkg-dev libsrtp2-dev libssl-dev patch swig uuid-dev xz-utils \
 && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir setuptools wheel
COPY tests/services/pjsua2/build-pjsua2.sh tests/services/pjsua2/recording-server.patch /build/
RUN bash /build/build-pjsua2.sh /wheels python

FROM pjsua2-${PJSUA2} AS wheels

FROM python:3.12-slim-trixie AS build
WORKDIR /src
COPY . .
COPY --from=wheels /wheels /wheels
RUN python -m venv /opt/callwarden \
 && /opt/callwarden/bin/pip install --no-cache-dir . $(find /wheels -name '*.whl')
# Unpacked here once, not in every container at its first start.
ENV CALLWARDEN_CACHE=/opt/callwarden/cache
RUN /opt/callwarden/bin/python -c 'from recognizer.model_pack import install_graph; install_graph()'

FROM python:3.12-slim-trixie
RUN apt-get update \
 && apt-get install -y --no-install-recommends ffmpeg libsrtp2-1 libstdc++6 libuuid1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --uid 10001 callwarden \
 && install -d -o callwarden -g callwarden -m 0700 /var/lib/callwarden
COPY --from=build /opt/callwarden /opt/callwarden
USER callwarden
ENV PATH=/opt/callwarden/bin:$PATH \
    CALLWARDEN_DATA=/var/lib/callwarden \
    CALLWARDEN_CACHE=/opt/callwarden/cache \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONUNBUFFERED=1
VOLUME /var/lib/callwarden
EXPOSE 5060/udp 5060/tcp 8080/tcp 20000-20798/udp
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s CMD ["python", "-m", "console.vitals", "--alive"]
ENTRYPOINT ["callwarden"]
CMD ["up", "--sip", "0.0.0.0:5060", "--http", "0.0.0.0:8080"]
