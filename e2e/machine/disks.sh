#!/bin/bash
# disks.sh KIND ROOT OUT: writes OUT/vda.img, a disk that holds a copy of ROOT and starts from it, without the help of a machine.
#   bios   GPT with BIOS boot, /boot on ext4, and LVM with the root on ext4, swap, and data on XFS
#   uefi   GPT with an EFI system partition, swap, and the root on Btrfs in subvolumes
# The kernel that builds it need neither know partitions nor device-mapper: partitions are reached by loop devices at their offset, LVM
# metadata is written with --driverloaded n, and so are its linear volumes.
set -euo pipefail
kind=$1 root=$2 out=$3
image=$out/vda.img
mnt=$out/mnt
loops=()
cleanup() {
	sync
	for m in "$mnt/srv/data" "$mnt/home" "$mnt/boot" "$mnt"; do umount "$m" 2>/dev/null || true; done
	for l in "${loops[@]}"; do losetup -d "$l" 2>/dev/null || true; done
	rm -rf "$out/lvm"
	rmdir "$mnt" 2>/dev/null || true
}
trap cleanup EXIT

# attach OFFSET SIZE: a loop device for a part of the image, in $dev.
attach() {
	dev=$(losetup --find --show -o "$1" --sizelimit "$2" "$image")
	loops+=("$dev")
}
# part N: offset and size of a partition in bytes, in $from and $bytes.
part() {
	read -r from bytes < <(sgdisk -i "$1" "$image" | awk '/^First sector/{f=$3*512} /^Partition size/{s=$3*512} END{print f, s}')
}
uuid() { blkid -p -s UUID -o value "$1"; }

# in_lvm ...: lvm on the loop device $pv alone.
in_lvm() {
	LVM_SYSTEM_DIR=$out/lvm lvm "$@" --driverloaded n >/dev/null
}
# volume NAME: where a logical volume lies in the image, in $from and $bytes.
volume() {
	local start=$1
	read -r from bytes < <(LVM_SYSTEM_DIR=$out/lvm lvm pvs --driverloaded n --noheadings --segments -o lv_name,pvseg_start,pvseg_size "$pv" 2>/dev/null |
		awk -v n="$start" -v base="$((pvfrom + 1048576))" '$1==n{printf "%.0f %.0f\n", base+$2*4194304, $3*4194304}')
}

disk_bios() {
	sgdisk -n1:2048:+1M -t1:ef02 -n2:0:+200M -t2:8300 -c2:boot -n3:0:0 -t3:8e00 "$image" >/dev/null
	part 3
	pvfrom=$from
	attach "$from" "$bytes"
	pv=$dev
	mkdir -p "$out/lvm"
	cat >"$out/lvm/lvm.conf" <<-C
		devices { use_devicesfile=0 global_filter=["a|^$pv\$|","r|.*|"] }
		activation { udev_sync=0 udev_rules=0 }
		backup { backup=0 archive=0 }
	C
	in_lvm pvcreate -ff -y "$pv"
	in_lvm vgcreate vg0 "$pv"
	for v in root:1200M swap:64M data:320M; do
		in_lvm lvcreate -an -Zn -Wn -L "${v#*:}" -n "${v%:*}" vg0
	done
	volume root && attach "$from" "$bytes" && rootdev=$dev
	volume swap && attach "$from" "$bytes" && mkswap -q -L swap "$dev"
	swap=$(uuid "$dev")
	volume data && attach "$from" "$bytes" && data=$dev
	mkfs.ext4 -q -L root "$rootdev"
	mkfs.xfs -q -L data "$data"
	part 2 && attach "$from" "$bytes" && boot=$dev
	mkfs.ext4 -q -L boot "$boot"
	mount "$rootdev" "$mnt"
	mkdir -p "$mnt/boot" "$mnt/srv/data"
	mount "$boot" "$mnt/boot"
	mount "$data" "$mnt/srv/data"
	head -c 20M /dev/urandom >"$mnt/srv/data/file"
	cat >"$out/fstab" <<-C
		/dev/mapper/vg0-root / ext4 errors=remount-ro 0 1
		UUID=$(uuid "$boot") /boot ext4 defaults 0 2
		UUID=$(uuid "$data") /srv/data xfs defaults 0 0
		UUID=$swap none swap sw 0 0
	C
	echo root=/dev/mapper/vg0-root >"$out/cmdline"
}

disk_uefi() {
	sgdisk -n1:2048:+40M -t1:ef00 -c1:ESP -n2:0:+64M -t2:8200 -n3:0:0 -t3:8300 "$image" >/dev/null
	# Few host kernels of test machines know FAT: mtools do.
	part 1 && attach "$from" "$bytes"
	mkfs.vfat -n ESP "$dev" >/dev/null
	esp=$(uuid "$dev")
	mmd -i "$dev" ::EFI ::EFI/debian
	mcopy -i "$dev" "$root/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi" ::EFI/debian/grubx64.efi
	part 2 && attach "$from" "$bytes" && mkswap -q "$dev"
	swap=$(uuid "$dev")
	part 3 && attach "$from" "$bytes" && rootdev=$dev
	mkfs.btrfs -q -L root "$rootdev"
	mount "$rootdev" "$mnt"
	btrfs -q subvolume create "$mnt/@"
	btrfs -q subvolume create "$mnt/@home"
	umount "$mnt"
	mount -o subvol=@ "$rootdev" "$mnt"
	mkdir -p "$mnt/home" "$mnt/boot/efi"
	mount -o subvol=@home "$rootdev" "$mnt/home"
	id=$(uuid "$rootdev")
	cat >"$out/fstab" <<-C
		UUID=$id / btrfs subvol=@ 0 0
		UUID=$id /home btrfs subvol=@home 0 0
		UUID=$esp /boot/efi vfat umask=0077 0 1
		UUID=$swap none swap sw 0 0
	C
	echo "root=UUID=$id rootflags=subvol=@" >"$out/cmdline"
}

mkdir -p "$mnt"
rm -f "$image"
truncate -s 2G "$image"
"disk_$kind"
cp -a "$root/." "$mnt/"
cp "$out/fstab" "$mnt/etc/fstab"
echo "lab-$kind" >"$mnt/etc/hostname"
printf 'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n' >"$mnt/etc/network/interfaces"
mkdir -p "$mnt/boot/grub" "$mnt/lab"
printf 'set timeout=0\n' >"$mnt/boot/grub/grub.cfg"
if [ "$kind" = bios ]; then
	mkdir -p "$mnt/boot/grub/i386-pc"
	cp "$root"/usr/lib/grub/i386-pc/{normal,lvm,ext2}.mod "$mnt/boot/grub/i386-pc/"
fi
cp "$out/ferry" "$out/guest.sh" "$out/point.sh" "$mnt/lab/"
cat >"$mnt/etc/systemd/system/lab.service" <<'C'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/lab/guest.sh
StandardOutput=journal+console
StandardError=journal+console
C
mkdir -p "$mnt/etc/systemd/system/default.target.wants"
ln -sf ../lab.service "$mnt/etc/systemd/system/default.target.wants/lab.service"
for u in systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer man-db.timer mdmonitor.service; do
	ln -sf /dev/null "$mnt/etc/systemd/system/$u"
done
