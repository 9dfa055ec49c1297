# syntax=docker/dockerfile:1
# Debian's Orthanc with its DICOMweb plug-in: the PACS of the compose profile `pacs`, to try the gateway with.
#
# The images that the Orthanc project publishes write into their root file system when they start, and so cannot be run
# read-only. Its configuration is all of /etc/orthanc-trial: docker/orthanc.json and the file with the users.

ARG BASE=debian:bookworm-slim
FROM ${BASE}
LABEL org.opencontainers.image.title="Orthanc, to try the LaMEGAN gateway with" \
      org.opencontainers.image.licenses="GPL-3.0-or-later AND AGPL-3.0-or-later"
RUN --mount=type=secret,id=apt.conf \
    export APT_CONFIG=/run/secrets/apt.conf; [ -f "$APT_CONFIG" ] || unset APT_CONFIG; \
    apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends orthanc orthanc-dicomweb \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
    && install -d -o 10002 -g 10002 /var/lib/trial
USER 10002:10002
EXPOSE 4242 8042
VOLUME /var/lib/trial
CMD ["Orthanc", "/etc/orthanc-trial"]
