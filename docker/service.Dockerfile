# syntax=docker/dockerfile:1
# The enhancement service with its model, on Debian's Python.
#
#   docker build -f docker/service.Dockerfile -t lamegan .                           for a CPU
#   docker build -f docker/service.Dockerfile -t lamegan --build-arg DEVICE=cuda .   for an NVIDIA GPU (CUDA from pip)
#
# Needs nothing but Debian's and Python's package registries. A machine that reaches them its own way says so with the
# secrets `pip.conf`, `ca.pem` and `apt.conf`; nothing of them stays in the image.

ARG BASE=debian:bookworm-slim

# ---- Python, in the build and in the image alike
FROM ${BASE} AS python
RUN --mount=type=secret,id=apt.conf \
    export APT_CONFIG=/run/secrets/apt.conf; [ -f "$APT_CONFIG" ] || unset APT_CONFIG; \
    apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3 ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb

# ---- installs into /opt/lamegan and writes the bill of materials and the licences; none of its tools go further
FROM python AS build
ARG DEVICE=cpu
ARG CYCLONEDX=cyclonedx-bom==7.5.0
ARG LICENCES=pip-licenses==5.5.5
RUN --mount=type=secret,id=apt.conf \
    export APT_CONFIG=/run/secrets/apt.conf; [ -f "$APT_CONFIG" ] || unset APT_CONFIG; \
    apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-venv \
    && python3 -m venv /build/tools \
    && python3 -m venv --without-pip /opt/lamegan
COPY pyproject.toml constraints.txt docker/constraints-cuda.txt README.md LICENSE /build/source/
COPY service /build/source/service
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem \
    export PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1; \
    case "$DEVICE" in cpu) extra="[dicom,otel,signing]" ;; cuda) extra="[cuda,dicom,otel,signing]" ;; *) echo "DEVICE is cpu or cuda" >&2; exit 2 ;; esac; \
    cd /build/source \
    && /build/tools/bin/pip --python /opt/lamegan/bin/python install --quiet \
       --constraint constraints.txt --constraint constraints-cuda.txt ".$extra" \
    && /build/tools/bin/pip install --quiet "$CYCLONEDX" "$LICENCES" \
    && mkdir -p /opt/lamegan/share \
    && /build/tools/bin/cyclonedx-py environment --output-reproducible --of JSON -o /opt/lamegan/share/sbom.cdx.json \
       /opt/lamegan/bin/python \
    && /build/tools/bin/pip-licenses --python /opt/lamegan/bin/python --with-system --with-urls --format csv \
       --output-file /opt/lamegan/share/licences.csv \
    && /build/tools/bin/pip-licenses --python /opt/lamegan/bin/python --with-system --with-license-file --no-license-path \
       --with-notice-file --format plain-vertical --output-file /opt/lamegan/share/licences.txt \
    && rm -f /opt/lamegan/bin/lamegan-train
# Without a GPU these are 280 MB that cannot run.
RUN [ "$DEVICE" != cpu ] || rm -f /opt/lamegan/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_*.so

# ---- the image
FROM python
ARG DEVICE=cpu
LABEL org.opencontainers.image.title="LaMEGAN" \
      org.opencontainers.image.description="Enhances throat photos and says how much of their structure it kept. Research software, not a medical device." \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin lamegan \
    && install -d -o lamegan -g lamegan /var/lib/lamegan
COPY --from=build /opt/lamegan /opt/lamegan
COPY models /opt/lamegan/models
RUN dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\n' >/opt/lamegan/share/debian-packages.tsv

ENV PATH=/opt/lamegan/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LAMEGAN_HOST=0.0.0.0 \
    LAMEGAN_PORT=8000 \
    LAMEGAN_MODELS_DIR=/opt/lamegan/models \
    LAMEGAN_STATE_DIR=/var/lib/lamegan \
    LAMEGAN_DEVICE=${DEVICE} \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
EXPOSE 8000
# Serving more than loopback without keys is refused: mount a keys file (`lamegan new-key NAME`) and name it in
# LAMEGAN_KEYS_FILE, or say LAMEGAN_ALLOW_ANONYMOUS=true. The root file system may be read-only; /var/lib/lamegan
# remembers which model was activated.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["lamegan", "health"]
ENTRYPOINT ["lamegan"]
CMD ["serve"]
