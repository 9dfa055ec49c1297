# syntax=docker/dockerfile:1
# Training, calibration and evaluation (`lamegan-train`), on Debian's Python and the PyTorch that pip finds.
#
#   docker build -f docker/training.Dockerfile -t lamegan:training .
#   docker run --rm --gpus all --network none --read-only --tmpfs /tmp -v "$PWD/photos:/photos:ro" -v runs:/work \
#     lamegan:training fit --config paper --lq /photos/poor --hq /photos/good --out runs/first
#
# Photos, runs and models come in as volumes; none is in the image, and nothing in it needs a network. A machine that
# reaches its package registries its own way says so with the secrets `pip.conf`, `ca.pem` and `apt.conf`; nothing of
# them stays in the image. On Linux PyTorch from pip brings CUDA with it; where pip's configuration leads to a build for
# the CPU, the image is a tenth as large and trains without a GPU.

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
ARG CYCLONEDX=cyclonedx-bom==7.5.0
ARG LICENCES=pip-licenses==5.5.5
RUN --mount=type=secret,id=apt.conf \
    export APT_CONFIG=/run/secrets/apt.conf; [ -f "$APT_CONFIG" ] || unset APT_CONFIG; \
    apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-venv \
    && python3 -m venv /build/tools \
    && python3 -m venv --without-pip /opt/lamegan
COPY pyproject.toml constraints.txt README.md LICENSE /build/source/
COPY service /build/source/service
COPY model_training /build/source/model_training
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem \
    export PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1; \
    cd /build/source \
    && /build/tools/bin/pip --python /opt/lamegan/bin/python install --quiet --constraint constraints.txt ".[signing,train]" \
    && /build/tools/bin/pip install --quiet "$CYCLONEDX" "$LICENCES" \
    && mkdir -p /opt/lamegan/share \
    && /build/tools/bin/cyclonedx-py environment --output-reproducible --of JSON -o /opt/lamegan/share/sbom.cdx.json \
       /opt/lamegan/bin/python \
    && /build/tools/bin/pip-licenses --python /opt/lamegan/bin/python --with-system --with-urls --format csv \
       --output-file /opt/lamegan/share/licences.csv \
    && /build/tools/bin/pip-licenses --python /opt/lamegan/bin/python --with-system --with-license-file --no-license-path \
       --with-notice-file --format plain-vertical --output-file /opt/lamegan/share/licences.txt

# ---- the image
FROM python
LABEL org.opencontainers.image.title="LaMEGAN training" \
      org.opencontainers.image.description="Trains, calibrates and evaluates generators for the LaMEGAN service. Research software, not a medical device." \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin lamegan \
    && install -d -o lamegan -g lamegan /work
COPY --from=build /opt/lamegan /opt/lamegan
RUN dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\n' >/opt/lamegan/share/debian-packages.tsv

ENV PATH=/opt/lamegan/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /work
# Runs and models are written below /work, a volume that user 10001 may write; caches go to /tmp.
ENTRYPOINT ["lamegan-train"]
CMD ["--help"]
