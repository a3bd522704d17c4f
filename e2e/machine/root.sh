#!/bin/bash
# root.sh DIR: a small Debian 12 with systemd, kernel, GRUB, LVM, md, LUKS, multipath and Btrfs (450 MB, one to two minutes).
# Its sum names the cached result: change what is installed here only.
set -euo pipefail
mmdebstrap --quiet --variant=minbase --mode=root --aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--include=systemd,systemd-sysv,dbus,udev,linux-image-cloud-amd64,initramfs-tools,zstd,kmod,procps,iproute2,ifupdown,isc-dhcp-client \
	--include=grub-pc-bin,grub-efi-amd64-bin,grub2-common,lvm2,thin-provisioning-tools,mdadm,cryptsetup,multipath-tools \
	--include=btrfs-progs,xfsprogs,e2fsprogs,dosfstools,ntfs-3g,fdisk,gdisk \
	bookworm "$1"
