#!/bin/bash
# stop-s3.sh ROOT: stops what start-s3.sh ROOT started; the data stay.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: stop-s3.sh ROOT" >&2; exit 1; }
root=$(realpath -m "$1")

ours() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$root/"; }

shopt -s nullglob
for file in "$root"/run/*.pid; do
  pid=$(cat "$file")
  # A number left from before a reboot may be someone else's process by now.
  if ours "$pid"; then
    kill -- "-$pid" 2>/dev/null || true
    for _ in $(seq 50); do ours "$pid" || break; sleep 0.1; done
    ! ours "$pid" || kill -KILL -- "-$pid" 2>/dev/null || true
  fi
  rm -f "$file"
done
