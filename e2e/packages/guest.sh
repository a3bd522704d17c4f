#!/bin/bash
# guest.sh: the life of the Debian package in a machine that systemd runs. In /packages are first.deb, and next.deb of a later version.
# Ends at the first thing that is not as it should be, with what the service said.
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive

say() { echo "== $*"; }
trap 'echo "FAILED at line $LINENO: $BASH_COMMAND"; systemctl status --no-pager -l ferry || true; journalctl -b --no-pager -u ferry | tail -40; tail -n 20 /root/*.log' ERR

# until what COMMAND: the other side has no event for it.
until_() {
	local what=$1 end=$((SECONDS + 60))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { echo "not within 60 s: $what"; return 1; }
		sleep 0.2
	done
}
status() { ferry agent status --json | grep -o "\"$1\":[^,}]*" | head -1 | cut -d: -f2- | tr -d '" '; }
pid() { systemctl show -P MainPID ferry; }
refused() { ! "$@" >/root/refused 2>&1 || { echo "should be refused: $*"; return 1; }; }
everything() { find /etc /usr /var /run /root /lib /boot /opt /srv -xdev \( -path /var/log/journal -o -path /run/systemd -o -path /var/lib/dpkg -o -path /var/log -o -path /run/udev -o -path /var/lib/systemd -o -path /var/cache -o -path /run/log -o -path /run/network \) -prune -o -print | sort; }

say a machine without it
ip link add net0 type veth peer net1 && ip address add 192.0.2.10/24 dev net0 && ip link set net0 up # a source has a network
mkdir -p /root/control /root/source/dir /root/target
everything >/root/before.txt
echo >/root/after.txt
echo >/root/refused

say install
dpkg -i /packages/first.deb
[ "$(stat -c %a /etc/ferry/agent.yaml)" = 600 ]
[ "$(systemctl is-enabled ferry || true)" = disabled ]
[ "$(systemctl is-active ferry || true)" = inactive ]
refused ferry agent status
grep -q FERRY-NOT-RUNNING /root/refused
refused ferry agent run --check
grep -q FERRY-CONFIG /root/refused
[ -z "$(systemd-analyze verify --man=no ferry.service 2>&1 | grep -i ferry)" ]

say a controller and a target
ferry controller --listen 127.0.0.1:8899 --store sqlite:/root/control/db --json >/root/controller.log 2>&1 &
until_ "the controller listens" grep -q listening /root/controller.log
ferry controller user add agent --role agent --store sqlite:/root/control/db --out /etc/ferry/key.json >/dev/null
ferry target --into dir:/root/target --listen 127.0.0.1:8900 --state /root/control/t --json >/root/target.log 2>&1 &
until_ "the target listens" grep -q listening /root/target.log
pair=$(grep -o '"pair":"[^"]*"' /root/target.log | cut -d'"' -f4)

say configure, install as a service, start
cat >/etc/ferry/agent.yaml <<-END
	endpoint: http://127.0.0.1:8899
	accept_privacy_statement: true
	poll: 1s
	logs: /var/log/ferry
	limits: { rate: 8MiB }
	credentials: { key_file: /etc/ferry/key.json }
	service: { cpu_weight: 50, io_weight: 60, memory_max: 1GiB }
END
ferry agent install
ferry agent install # again
[ ! -e /etc/systemd/system/ferry.service ] # the unit of the package serves
[ "$(systemctl is-enabled ferry)" = enabled ]
[ "$(systemctl show -P CPUWeight ferry) $(systemctl show -P IOWeight ferry) $(systemctl show -P MemoryMax ferry)" = "50 60 1073741824" ]
ferry agent start
ferry agent start # again
[ "$(systemctl is-active ferry)" = active ]
[ "$(systemctl show -P Type ferry) $(systemctl show -P WatchdogUSec ferry)" = "notify 2min" ]
registered() { [ -n "$(status source)" ]; }
until_ "registered" registered
[ -n "$(systemctl show -P StatusText ferry)" ]
ferry agent status
[ "$(status pid)" = "$(pid)" ]
source=$(status source)
[ -n "$source" ]
journalctl -b -u ferry -o json | grep -q '"FERRY_SOURCE":"'"$source"
[ "$(stat -c %a /var/lib/ferry) $(stat -c %a /var/log/ferry)" = "700 700" ]
[ -s /var/log/ferry/agent.log ]

say a task, and a restart in the middle of it
for i in $(seq 20); do head -c 4M /dev/urandom >/root/source/dir/f$i; done
export CLOUD_SDK_AK CLOUD_SDK_SK
CLOUD_SDK_AK=$(grep -o '"access_key":"[^"]*"' /root/control/admin-key.json | cut -d'"' -f4)
CLOUD_SDK_SK=$(grep -o '"secret_key":"[^"]*"' /root/control/admin-key.json | cut -d'"' -f4)
sed "s/SOURCE/$source/; s/PAIR/$pair/" /packages/task.json >/root/task.json
task=$(ferry task create --controller http://127.0.0.1:8899 --body /root/task.json --start)
task=${task##* }
moved() { local b; b=$(status bytes) && [ "${b:-0}" -gt "$1" ]; }
until_ "bytes moved" moved $((8 << 20))
before=$(pid)
began=$(date +%s%N)
systemctl restart ferry
echo "stopped and started in $((($(date +%s%N) - began) / 1000000)) ms during a task"
[ "$(pid)" != "$before" ]
[ "$(systemctl show -P Result ferry)" = success ]
[ "$(journalctl -b -u ferry | grep -c 'State .stop-sigterm. timed out')" = 0 ]
until_ "it goes on" moved $((16 << 20))

say upgrade in the middle of it
before=$(pid)
dpkg -i --force-confold /packages/next.deb
[ "$(dpkg-query -W -f '${Version}' ferry)" = 9.9.9 ]
[ "$(pid)" != "$before" ]
[ "$(status source)" = "$source" ]
grep -q 8MiB /etc/ferry/agent.yaml
state() { ferry task show --controller http://127.0.0.1:8899 "$task" --json | grep -o '"state":"[^"]*"' | head -1; }
finished() { [ "$(state)" = '"state":"MIGRATE_SUCCESS"' ]; }
until_ "the task is done" finished
diff -r /root/source/dir /root/target

say downgrade with a state that is newer
echo 2 >/var/lib/ferry/version
before=$(pid)
refused dpkg -i /packages/first.deb
grep -q "written by a newer version" /root/refused
[ "$(dpkg-query -W -f '${Version} ${db:Status-Status}' ferry)" = "9.9.9 installed" ]
[ "$(pid)" = "$before" ] # nothing was stopped
refused ferry agent run --check
grep -q FERRY-STATE-NEWER /root/refused
echo 1 >/var/lib/ferry/version

say killed, started again by systemd
kill -KILL "$(pid)"
until_ "systemd starts it again" sh -c '[ "$(systemctl is-active ferry)" = activating ] || [ "$(systemctl show -P NRestarts ferry)" -ge 1 ]'
ferry agent restart
until_ "it runs" registered
[ "$(status source)" = "$source" ]

say stop and uninstall
kill %1
ferry agent stop
refused ferry agent status
ferry agent stop # again
ferry agent uninstall
ferry agent uninstall # again
[ "$(systemctl is-enabled ferry || true)" = disabled ]
[ ! -e /etc/systemd/system/ferry.service.d ]
[ -s /var/lib/ferry/source.json ] # what it knows stays

say another configuration gets a unit of its own
cp /etc/ferry/agent.yaml /root/other.yaml
ferry agent install --config /root/other.yaml
grep -q 'run --service --config /root/other.yaml' /etc/systemd/system/ferry.service
ferry agent uninstall --config /root/other.yaml
[ ! -e /etc/systemd/system/ferry.service ]
ferry agent install

say remove and purge
dpkg -r ferry
[ -s /var/lib/ferry/source.json ]
[ -s /etc/ferry/agent.yaml ]
[ "$(systemctl is-active ferry || true)" != active ]
dpkg -P ferry
kill %2 2>/dev/null || true
rm -rf /root/task.json /root/other.yaml /root/source/dir/* /root/target/* /root/target/.ferry* /root/control/* /root/controller.log /root/target.log
everything >/root/after.txt
diff <(grep -v '^/root' /root/before.txt) <(grep -v '^/root' /root/after.txt)
say PASSED
