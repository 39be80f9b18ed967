#!/usr/bin/env bash
# One large file in and out of a namenode and three datanodes on this machine, beside three plain writers on the same disk.
#
# usage: benches/bulk.sh [ROUNDS]      (default 3; needs 5 GiB of disk, and release binaries: make build)
#
# Prints for each round MB/s (10^6 bytes), and the CPU seconds of the client and of all daemons. FILL=1 fills the page cache before each
# write: on a virtual machine the first touch of memory that the host has taken back costs many times the copy, and hides what is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
bin=${BIN:-$PWD/target/release}
folder=${TMPDIR:-$PWD/target}
mkdir -p "$folder"
work=$(mktemp -d "$folder/bulk.XXXXXX")
pids=()
finish() {
  if [ ${#pids[@]} != 0 ]; then
    kill "${pids[@]}" 2>/dev/null || true
    wait
  fi
  rm -rf "$work"
}
trap finish EXIT

until_ready() { # a file that the line appears in
  for _ in $(seq 500); do
    if grep -q '^ready' "$1"; then return; fi
    sleep 0.02
  done
  echo "a daemon did not start: $1" >&2
  exit 1
}

"$bin/godfs-namenode" --init --dir "$work/namenode" --listen 127.0.0.1:0 >"$work/namenode.out" 2>"$work/namenode.log" &
pids+=($!)
until_ready "$work/namenode.out"
address=$(awk '{print $3}' "$work/namenode.out")
for n in 1 2 3; do
  "$bin/godfs-datanode" --dir "$work/datanode-$n" --namenode "$address" --listen 127.0.0.1:0 >"$work/$n.out" 2>"$work/$n.log" &
  pids+=($!)
done
for n in 1 2 3; do until_ready "$work/$n.out"; done
export GODFS_FS=godfs://$address
source=$work/source
head -c 1073741824 /dev/urandom >"$source"
sum=$(sha256sum <"$source")

fill() {
  sync
  if [ -n "${FILL:-}" ]; then
    [ -f "$work/fill" ] || dd if=/dev/zero of="$work/fill" bs=1M count="$(awk '/MemTotal/{print int($2/1024*0.95)}' /proc/meminfo)" status=none
    cat "$work/fill" >/dev/null
  fi
  cat "$source" >/dev/null
}
cpu_of_daemons() { for pid in "${pids[@]}"; do awk '{print ($14+$15)/100}' "/proc/$pid/stat"; done | paste -sd+ | bc; }
measure() { # a name, then a command that moves the whole file
  local name=$1 before spent began ended own
  shift
  before=$(cpu_of_daemons)
  began=$(date +%s.%N)
  own=$( { TIMEFORMAT='%U %S'; time "$@" >/dev/null; } 2>&1 | awk '{print $1+$2}')
  ended=$(date +%s.%N)
  spent=$(echo "$(cpu_of_daemons)-$before" | bc)
  awk -v n="$name" -v s="$(echo "$ended-$began" | bc)" -v c="$own" -v d="$spent" \
    'BEGIN{printf "%-24s %6.0f MB/s   CPU client %.2f s, daemons %.2f s\n", n, 1073.741824/s, c, d}'
}
plain() { # what dd is to do at the end
  local writers=()
  for n in 1 2 3; do
    dd if="$source" of="$work/plain-$n" bs=1M $1 status=none &
    writers+=($!)
  done
  wait "${writers[@]}"
}

for round in $(seq "$rounds"); do
  echo "round $round, load $(cut -d' ' -f1 /proc/loadavg)"
  fill
  measure "put --no-sync" "$bin/godfs" put --no-sync "$source" /unsynced
  fill
  measure "put" "$bin/godfs" put "$source" /synced
  measure "get" "$bin/godfs" get /synced "$work/back"
  [ "$(sha256sum <"$work/back")" = "$sum" ] || { echo "other bytes came back" >&2; exit 1; }
  rm "$work/back"
  measure "cat" "$bin/godfs" cat /synced
  "$bin/godfs" rm --skip-trash /unsynced /synced
  fill
  measure "three plain, fdatasync" plain conv=fdatasync
  rm "$work"/plain-*
  fill
  measure "three plain, unsynced" plain ""
  rm "$work"/plain-*
done
