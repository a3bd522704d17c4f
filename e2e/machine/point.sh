# point.sh is the end of guest.sh: copies of LVM volumes by way of snapshots, and of the root itself while it is frozen, written to all the
# while. Each answer is a file: what ferry said last, and how many lines two files have that are written in turn.
# shellcheck shell=bash disable=SC2154 # out and try are of guest.sh

# copy NAME SOURCE MODE: copies SOURCE to memory.
copy() {
	local to=/dev/shm/$1
	mkdir -p "$2/point" "$to"
	rm -f "$2/point"/*
	while echo line >>"$2/point/a"; do echo line >>"$2/point/z"; done &
	local writer=$!
	timeout 100 /lab/ferry migrate "$2/point" --to "dir:$to" --state /dev/shm/state --snapshot "$3" --json >"/dev/shm/said" 2>>"$out/point.err" || true
	kill $writer
	wait $writer 2>/dev/null
	{
		tail -n 1 /dev/shm/said
		wc -l <"$to/a"
		wc -l <"$to/z"
	} >"$out/point-$1.txt"
}

try lvcreate -q -y -L 64M -n thick vg1
try mkfs.ext4 -q /dev/vg1/thick
try lvcreate -q -y -V 320M -T vg1/pool -n thinxfs 2>/dev/null # larger than its pool
try mkfs.xfs -q /dev/vg1/thinxfs 2>/dev/null                   # without its stripes
mkdir -p /srv/{thick,thinxfs}
try mount /dev/vg1/thick /srv/thick
try mount /dev/vg1/thinxfs /srv/thinxfs
copy thick /srv/thick lvm
copy thin /srv/thinxfs lvm
copy root /home freeze

# Killed at any time while it copies from a frozen root: what is left frozen makes the next write wait for ever.
thawed=0
for _ in 1 2 3 4 5; do
	/lab/ferry migrate /home --to dir:/dev/shm/kills --state /dev/shm/state --snapshot freeze --json >/dev/null 2>&1 &
	agent=$!
	sleep "$((RANDOM % 3)).$((RANDOM % 10))"
	kill -9 $agent 2>/dev/null
	wait $agent 2>/dev/null
	timeout 30 sh -c 'echo written >/home/thawed && sync -f /home' && thawed=$((thawed + 1))
done
echo $thawed >"$out/point-kills.txt"
for _ in $(seq 30); do grep -aqs 'free[z]er' /proc/[0-9]*/cmdline || break; sleep 1; done
fsfreeze --unfreeze / 2>/dev/null && echo "the root was left frozen" >&2

# A snapshot that a kill left is removed by the next run.
{ /lab/ferry migrate /srv/thick --to dir:/dev/shm/left --state /dev/shm/state --snapshot lvm --after-thaw 'kill -9 $PPID' --json; } >/dev/null 2>&1
lvs --noheadings -o lv_name vg1 | grep -c ferry- >"$out/point-left.txt"
copy again /srv/thick auto
{
	lvs --noheadings -o lv_name vg1 | grep -c ferry-
	grep -c /dev/shm/state/snapshots /proc/mounts
	ls /dev/shm/state/snapshots | wc -l
} >"$out/point-swept.txt"
