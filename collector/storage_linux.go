package collector

import (
	"context"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// storage is what reading the devices brought.
type storage struct {
	disks   []inventory.Disk
	groups  []inventory.VolumeGroup
	btrfs   []inventory.Btrfs
	missing []inventory.Missing
}

// collectStorage finds disks and what is on them. In a captured tree there is nothing to open: the kernel's account is all.
func collectStorage(r root) func(context.Context) (Fill, error) {
	return func(ctx context.Context) (Fill, error) {
		list := listDevices(r)
		st := storage{disks: list.disks}
		if r.isHost() {
			in := inspector{open: openDevice}
			in.disks(ctx, st.disks)
			all := in.carriers(st.disks)
			st.groups, st.missing = in.volumeGroups(ctx, all)
			st.groups = unreadGroups(st.groups, list.mapped)
			activate(st.groups, list.mapped)
			fillPercent(st.groups, list.mapped)
			all = append(all, in.logicalContent(ctx, st.groups, all)...)
			st.btrfs = in.liveBtrfs(ctx, r, all)
		} else {
			st.groups = unreadGroups(nil, list.mapped)
		}
		return func(s *inventory.Server) {
			s.Disks = append(s.Disks, st.disks...)
			s.VolumeGroups = append(s.VolumeGroups, st.groups...)
			s.Btrfs = append(s.Btrfs, st.btrfs...)
			s.Missing = append(s.Missing, st.missing...)
			for _, k := range st.disks {
				if k.Unread != "" {
					s.Missing = append(s.Missing, inventory.Missing{Part: "storage", Subject: k.Name, Reason: k.Unread})
				}
			}
		}, ctx.Err()
	}
}
