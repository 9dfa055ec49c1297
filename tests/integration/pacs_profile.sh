#!/bin/sh
# Runs what the compose profile `pacs` runs, with its two configuration files as they are: Debian's Orthanc and the gateway,
# each without capabilities, on a root file system that is read-only, in a network of their own where `orthanc` and
# `gateway` are names. Run by test_pacs_profile.py: unshare --net --mount --pid --fork sh pacs_profile.sh WORK ROOT PYTHON
set -eu
work=$1 root=$2 python=$3

ip link set lo up
mount --make-rprivate /
printf '127.0.0.1 localhost orthanc gateway\n' >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts
mount --bind "$work" /mnt
mkdir /mnt/root
mount --bind "$root" /mnt/root
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /var/lib/trial /var/lib/lamegan
chown 10002:10002 /var/lib/trial
mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp
[ -d "$root" ] || { mkdir -p "$root" && mount --bind /mnt/root "$root"; } # where the checkout itself lies below /tmp
mount -o remount,bind,ro /

setpriv --reuid 10002 --regid 10002 --clear-groups --bounding-set=-all --no-new-privs \
  Orthanc /mnt/etc-orthanc-trial >/mnt/orthanc.log 2>&1 &
cd "$root"
LAMEGAN_GATEWAY_FILE=/mnt/gateway.toml LAMEGAN_MODELS_DIR="$root/models" LAMEGAN_DEVICE=cpu \
  setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \
  "$python" -m service.commands.main gateway >/mnt/gateway.log 2>&1 &

ask() { curl --silent --show-error --noproxy '*' --user trial:trial "$@"; }
wait_for() { # wait_for COMMAND...: for two minutes
  tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 240 ] || { echo "not in time: $*" >&2; exit 1; }
    sleep 0.5
  done
}
done_are() { curl --silent --noproxy '*' http://gateway:9112/gateway.json | grep -q "\"done\": {\"count\": $1,"; }

wait_for ask --fail http://orthanc:8042/system
wait_for curl --silent --fail --noproxy '*' http://gateway:9112/health/live
curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}' http://orthanc:8042/dicom-web/studies >/mnt/stranger
storescu -aet STORESCU -aec ORTHANC -xe orthanc 4242 /mnt/1.dcm /mnt/2.dcm
storescu -aet STORESCU -aec LAMEGAN -xe gateway 11112 /mnt/1.dcm /mnt/2.dcm
wait_for done_are 2
ask --fail --header 'Accept: application/dicom+json' http://orthanc:8042/dicom-web/studies/2.25.4711/instances >/mnt/qido.json
ask --fail --header 'Accept: multipart/related; type="application/dicom"; transfer-syntax=*' \
  http://orthanc:8042/dicom-web/studies/2.25.4711 >/mnt/wado.multipart
curl --silent --noproxy '*' http://gateway:9112/gateway.json >/mnt/status.json
if touch /anything 2>/dev/null; then echo "the root file system can be written" >&2; exit 1; fi
