#!/bin/bash
# start-s3.sh ROOT [PORT]: a real S3 server for tests, OpenStack Swift behind its S3 API, on 127.0.0.1 only.
# Data stay under ROOT until it is deleted. Use: eval "$(tests/services/start-s3.sh .services/s3)"
set -euo pipefail

die() { echo "start-s3: $*" >&2; exit 1; }

[ $# -ge 1 ] || die "usage: start-s3.sh ROOT [PORT]"
root=$(realpath -m "$1")
port=${2:-8090}
here=$(dirname "$(realpath "$0")")
bin=$root/venv/bin
packages=(swift==2.38.3 keystonemiddleware==13.0.1 eventlet==0.41.3 PyECLib==1.8.0)
debian_hint="the S3 test server needs two Debian packages: apt-get install liberasurecode1 memcached"

# Swift's own ports follow the public one.
declare -A ports=([proxy]=$port [object]=$((port + 1)) [container]=$((port + 2)) [account]=$((port + 3)) [memcached]=$((port + 4)))

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
healthy() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /healthcheck HTTP/1.0\r\n\r\n' >&3 && grep -q '^OK' <&3) 2>/dev/null
}
alive() {  # its pid file, and a process that really is ours
  local pid
  pid=$(cat "$root/run/$1.pid" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$root/"
}
all_alive() { for name in "${!ports[@]}"; do alive "$name" || return 1; done; }

if all_alive && healthy "$(cat "$root/run/port")"; then
  cat "$root/run/environment"
  exit 0
fi

command -v memcached >/dev/null || die "$debian_hint"
"$here/stop-s3.sh" "$root"
for name in "${!ports[@]}"; do
  listening "${ports[$name]}" && die "port ${ports[$name]} ($name) is taken by another program: choose another PORT (make test-s3 S3_PORT=...)"
done

if [ ! -e "$root/venv/complete" ]; then
  echo "start-s3: installing ${packages[*]} into $root/venv" >&2
  rm -rf "$root/venv"
  "${PYTHON:-python3}" -m venv "$root/venv" >&2
  "$bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2
  "$bin/python" -c "import pyeclib.ec_iface" 2>/dev/null || die "$debian_hint"
  touch "$root/venv/complete"
fi

mkdir -p "$root"/{etc,run,devices/disk}
cd "$root/etc"
common="bind_ip = 127.0.0.1
swift_dir = $root/etc
user = $(id -un)
workers = 0"

cat >swift.conf <<C
[swift-hash]
swift_hash_path_prefix = rayscale
swift_hash_path_suffix = tests
[storage-policy:0]
name = single
default = yes
C

for name in object container account; do
  cat >"$name.conf" <<C
[DEFAULT]
$common
bind_port = ${ports[$name]}
devices = $root/devices
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = $name-server
[app:$name-server]
use = egg:swift#$name
C
  # One copy on one device: whatever the port, the ring maps the same data to the same place.
  rm -f "$name.builder"
  for step in "create 4 1 0" "add r1z1-127.0.0.1:${ports[$name]}/disk 1" "rebalance"; do
    # shellcheck disable=SC2086
    "$bin/swift-ring-builder" "$name.builder" $step >"$root/run/ring.log" || [ $? -eq 1 ] || die "see $root/run/ring.log"
  done
done

filters="catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth copy slo dlo versioned_writes"
{
  printf '[DEFAULT]\n%s\nbind_port = %s\n' "$common" "$port"
  printf '[pipeline:main]\npipeline = %s proxy-server\n' "$filters"
  printf '[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n'
  for filter in $filters; do
    printf '[filter:%s]\nuse = egg:swift#%s\n' "$filter" "${filter/#cache/memcache}"
    case $filter in
      cache) echo "memcache_servers = 127.0.0.1:${ports[memcached]}" ;;
      s3api) echo "location = us-east-1" ;;
      tempauth) echo "user_rayscale_tester = testing .admin" ;;
    esac
  done
} >proxy.conf

echo "$port" >"$root/run/port"
cat >"$root/run/environment" <<C
export AWS_ENDPOINT_URL=http://127.0.0.1:$port
export AWS_ACCESS_KEY_ID=rayscale:tester
export AWS_SECRET_ACCESS_KEY=testing
export AWS_DEFAULT_REGION=us-east-1
C

launch() {  # NAME COMMAND...: outlives this shell, in a process group of its own
  local name=$1
  shift
  setsid nohup "$@" </dev/null >"$root/run/$name.log" 2>&1 &
  echo $! >"$root/run/$name.pid"
}
# -P only names ROOT in the command line, by which stop-s3.sh knows the process as ours.
launch memcached memcached -u "$(id -un)" -l 127.0.0.1 -p "${ports[memcached]}" -P "$root/run/memcached"
for name in object container account proxy; do
  launch "$name" "$bin/swift-$name-server" "$root/etc/$name.conf"
done

for _ in $(seq 120); do
  ready=yes
  for name in "${!ports[@]}"; do listening "${ports[$name]}" || ready=no; done
  if [ $ready = yes ] && healthy "$port"; then
    cat "$root/run/environment"
    exit 0
  fi
  sleep 0.25
  all_alive || break
done
tail -n 3 "$root"/run/*.log >&2
"$here/stop-s3.sh" "$root" || true
die "the server did not come up; its logs are in $root/run"
