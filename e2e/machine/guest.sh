#!/bin/bash
# guest.sh runs inside the machine: it makes storage of every kind on the spare disks, then writes what ferry and the system's own tools say
# of it, as a tar archive, to the port ferry.out, and switches the machine off.
set -u
out=/run/lab
mkdir -p $out
exec 2> >(tee $out/errors >/dev/console)
# Nothing has to be kept, and services that are slow to stop are not waited for.
trap 'tar -C $out -cf /dev/virtio-ports/ferry.out .; sleep 1; echo o >/proc/sysrq-trigger' EXIT
# try COMMAND: a failure, or one that takes too long, is an error that the test reports; the steps are on the console.
try() {
	echo "+ $*" >/dev/console
	timeout 120 "$@" || echo "FAILED ($?): $*" >&2
}

# --- storage, by the serial number that qemu gave each disk
disk() { readlink -f "/dev/disk/by-id/virtio-$1"; }
udevadm settle
if [ -e /dev/disk/by-id/virtio-pv1 ]; then
	try lvcreate -q -s -L 96M -n rootsnap vg0/root
	try pvcreate -q "$(disk pv1)" "$(disk pv2)"
	try vgcreate -q vg1 "$(disk pv1)" "$(disk pv2)"
	try lvcreate -q -y -L 320M -T vg1/pool
	try lvcreate -q -y -V 128M -T vg1/pool -n thin
	try mkfs.ext4 -q -L thin /dev/vg1/thin
	try lvcreate -q -y -s -n thinsnap vg1/thin
	try lvcreate -q -y --type raid1 -m1 -L 48M -n mirrored vg1
	try mkfs.ext4 -q /dev/vg1/mirrored
	try lvcreate -q -y -i2 -L 64M -n striped vg1
	try lvcreate -q -y -L 16M -n idle vg1
	try lvchange -q -an vg1/idle
	mkdir -p /srv/{thin,md,crypt,logical,pool,fat,path}
	try mount /dev/vg1/thin /srv/thin

	try mdadm --quiet --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 "$(disk md1)" "$(disk md2)"
	try mkfs.ext4 -q -L array /dev/md0
	try mount /dev/md0 /srv/md

	echo -n secret | try cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$(disk luks)" -
	echo -n secret | try cryptsetup -q open "$(disk luks)" crypt -
	try mkfs.ext4 -q -L crypt /dev/mapper/crypt
	try mount /dev/mapper/crypt /srv/crypt

	dos=$(disk dos)
	printf 'label: dos\n,20M,L,*\n,,E\n,40M,L\n,20M,S\n' | try sfdisk -q "$dos"
	udevadm settle
	try mkfs.ext4 -q "${dos}5"
	try mkswap -q "${dos}6"
	try mount "${dos}5" /srv/logical
	mkdir -p /srv/bind
	try mount --bind /srv/logical /srv/bind

	try mkfs.btrfs -q -f -L pool -m raid1 -d single "$(disk bt1)" "$(disk bt2)"
	try mount "$(disk bt1)" /srv/pool
	for v in @ @home "@/a b"; do try btrfs -q subvolume create "/srv/pool/$v"; done
	head -c 5M /dev/urandom >/srv/pool/@/data
	try btrfs -q subvolume snapshot -r /srv/pool/@ /srv/pool/snap
	try btrfs -q subvolume set-default "$(btrfs subvolume list /srv/pool | awk '$NF=="@"{print $2}')" /srv/pool

	try sgdisk -n1:0:+40M -t1:0700 -n2:0:+20M -t2:0700 -n3:0:0 -t3:8200 /dev/nvme0n1 >/dev/null
	udevadm settle
	try mkfs.vfat -n DATA /dev/nvme0n1p1 >/dev/null
	try mkntfs -Q -q -L win /dev/nvme0n1p2
	try mkswap -q /dev/nvme0n1p3
	try swapon /dev/nvme0n1p3
	try mount /dev/nvme0n1p1 /srv/fat

	printf 'defaults {\n find_multipaths no\n user_friendly_names yes\n}\nblacklist {\n devnode "^(vd|nvme|dm-|md|sr)"\n}\n' >/etc/multipath.conf
	try systemctl restart multipathd
	for _ in $(seq 30); do [ -b /dev/mapper/mpatha ] && break; sleep 1; done
	if [ -b /dev/mapper/mpatha ]; then
		try mkfs.ext4 -q -L path /dev/mapper/mpatha
		try mount /dev/mapper/mpatha /srv/path
	fi
fi
head -c 3M /dev/urandom >/home/file
mkdir -p /srv/tmp
try mount -t tmpfs -o size=8M tmpfs /srv/tmp
sync
udevadm settle
try udevadm trigger --subsystem-match=block --action=change --settle
sleep 2 # udev's database is complete, and nothing is written any more

# --- what ferry says
/lab/ferry discover --json --thorough >$out/discover.json || true
/lab/ferry discover >$out/tree.txt || true
/lab/ferry discover --sms >$out/sms.json || true
/lab/ferry check >$out/check.txt || true
su -s /bin/sh nobody -c '/lab/ferry discover --json' >$out/nobody.json || true

# --- what others say
lsblk -J -l -b -o NAME,KNAME,PATH,MAJ:MIN,SIZE,RO,RM,ROTA,TYPE,LOG-SEC,PHY-SEC,FSTYPE,LABEL,UUID,PARTUUID,PARTLABEL,PARTTYPE,PTTYPE,PTUUID,SERIAL,WWN,START >$out/lsblk.json
try pvs --reportformat json --units b --nosuffix -o pv_name,pv_uuid,vg_name,pv_size,pv_free,pe_start,pv_pe_count >$out/pvs.json
try vgs --reportformat json --units b --nosuffix -o vg_name,vg_uuid,vg_size,vg_free,vg_extent_size,vg_seqno >$out/vgs.json
try lvs -a --reportformat json --units b --nosuffix -o vg_name,lv_name,lv_uuid,lv_size,segtype,origin,pool_lv,data_percent,lv_active,lv_kernel_major,lv_kernel_minor >$out/lvs.json
findmnt -J -l -b -o TARGET,SOURCE,FSTYPE,FSROOT,MAJ:MIN,ID,PARENT >$out/findmnt.json
df -B1 --output=target,used,size >$out/df.txt
swapon --show=NAME,SIZE --bytes --noheadings --raw >$out/swaps.txt
for path in $(findmnt -n -l -t btrfs -o TARGET); do
	echo "== $path"
	btrfs subvolume list -p -q -u "$path"
	echo "default $(btrfs subvolume get-default "$path")"
	btrfs filesystem df -b "$path"
	btrfs filesystem show --raw "$path"
done >$out/btrfs.txt 2>/dev/null
ip -j addr >$out/ip.json
ip -j route >$out/route.json
{ uname -r; hostname; nproc; [ -d /sys/firmware/efi ] && echo UEFI || echo BIOS; } >$out/host.txt
multipath -ll >$out/multipath.txt 2>&1
mdadm --detail --export /dev/md0 >$out/md.txt 2>/dev/null

# --- a text archive of what the collector reads, for its fixtures
# Only what the shell itself can do: under emulation a program takes a tenth of a second to start, and there are hundreds of files.
file() {
	[ -f "/$1" ] && [ -r "/$1" ] || return
	local v=
	IFS= read -r -d '' v <"/$1"
	printf -- '-- %s --\n%s\n' "$1" "${v%$'\n'}"
}
{
	echo "-- proc/stat --"
	grep "^cpu" /proc/stat
	for f in proc/{uptime,meminfo,loadavg,cmdline,swaps,self/mountinfo,net/route,net/ipv6_route} proc/sys/kernel/{hostname,osrelease} \
		etc/{os-release,debian_version,fstab,crypttab,machine-id,timezone}; do file "$f"; done
	for f in /sys/class/dmi/id/{sys_vendor,product_name,product_version,bios_vendor,board_vendor,chassis_vendor,chassis_asset_tag}; do file "${f#/}"; done
	[ -d /sys/firmware/efi ] && echo "-- sys/firmware/efi/fw_platform_size --" && echo 64
	for n in /sys/class/net/*; do
		n=${n#/}
		for f in address mtu type operstate carrier uevent; do file "$n/$f"; done
		[ -e "/$n/device" ] && echo "-- $n/device/driver -> $(readlink "/$n/device/driver") --"
	done
	for b in /sys/block/*; do
		read -r size <"$b/size"
		[ "$size" = 0 ] && continue
		d=$(readlink -f "$b")
		d=${d#/}
		echo "-- ${b#/} -> $(readlink "$b") --"
		for f in dev size ro removable hidden stat dm/name dm/uuid md/level loop/backing_file serial wwid device/{vendor,model,serial,wwid,type,state,transport} queue/{rotational,logical_block_size,physical_block_size}; do file "$d/$f"; done
		for s in "$b"/slaves/* "$b"/holders/*; do [ -e "$s" ] && echo "-- $d/${s#"$b"/} -> $(readlink "$s") --"; done
		for p in "$b"/*/partition; do
			[ -e "$p" ] || continue
			p=${p%/partition}
			q=$d/${p##*/}
			for f in partition dev start size; do file "$q/$f"; done
			for s in "$p"/holders/*; do [ -e "$s" ] && echo "-- $q/holders/${s##*/} -> $(readlink "$s") --"; done
		done
	done
	for f in /boot/vmlinuz-* /boot/initrd.img-* /boot/grub/grub.cfg /boot/grub/i386-pc/normal.mod /boot/efi/EFI/debian/grubx64.efi; do
		[ -e "$f" ] && echo "-- ${f#/} --" && echo
	done
	k=lib/modules/$(uname -r)
	for f in builtin dep; do echo "-- $k/modules.$f --"; grep virtio "/$k/modules.$f" | cut -d: -f1; done
} >$out/capture.txt 2>/dev/null

if [ -e /dev/disk/by-id/virtio-pv1 ]; then
	. /lab/point.sh
fi
