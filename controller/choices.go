package controller

import (
	"net/http"
	"strings"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// diskPath and groupPath are the keys of choices: the names of a disk and its partition, of a volume group and its volume.
func diskPath(names ...string) string  { return "disk|" + strings.Join(names, "|") }
func groupPath(names ...string) string { return "group|" + strings.Join(names, "|") }

// chosen returns what users want of something: to migrate it as it is, unless they said otherwise.
func chosen(s *store.Source, path string) smsapi.Choice {
	if c, ok := s.Choices[path]; ok {
		return c
	}
	return smsapi.Choice{NeedMigration: true}
}

// updateSource serves PUT /v3/sources/{source_id}. Disks and volumes are ignored once the source has a task.
func (s *Server) updateSource(r *http.Request, body []byte) (any, error) {
	var update smsapi.UpdateSource
	if err := smsapi.Decode(body, &update); err != nil {
		return nil, err
	}
	id := r.PathValue("source_id")
	return nil, s.store.Change(r.Context(), func(tx *store.Tx) error {
		source, err := tx.Source(id)
		if err != nil {
			return noSource(err, id)
		}
		if update.Name != nil {
			source.Name = *update.Name
		}
		if update.MigrationProject != nil {
			project, err := tx.Project(*update.MigrationProject)
			if err != nil {
				return noProject(err, *update.MigrationProject)
			}
			source.ProjectID, source.EnterpriseID = project.ID, project.Body.EnterpriseProject
		}
		task, err := currentTask(tx, id)
		if err != nil {
			return err
		}
		if pending(source, task) {
			if err := choose(source, update); err != nil {
				return err
			}
		}
		return tx.SaveSource(source)
	})
}

// A measure is how large something is and how much of it is in use, bytes.
type measure struct{ size, used int64 }

// shrinkRoom is what a volume keeps free at least when it becomes smaller, bytes.
const shrinkRoom = 1 << 30

// least returns the smallest size on the target.
func (m measure) least() int64 { return min(m.used+shrinkRoom, m.size) }

// measures returns everything that users may choose about, by its path.
func measures(info smsapi.RegisterSource) map[string]measure {
	all := map[string]measure{}
	for _, d := range info.Disks {
		all[diskPath(d.Name)] = measure{d.Size, d.UsedSize}
		for _, p := range d.PhysicalVolumes {
			all[diskPath(d.Name, p.Name)] = measure{p.Size, p.UsedSize}
		}
	}
	for _, g := range info.VolumeGroups {
		all[groupPath(g.Name)] = measure{g.Size, g.Size - g.FreeSize}
		for _, v := range g.LogicalVolumes {
			all[groupPath(g.Name, v.Name)] = measure{v.Size, v.UsedSize}
		}
	}
	return all
}

// choose keeps what users want of disks and volumes. Something that the source does not have, or a size that does not hold what is
// on it, is refused.
func choose(source *store.Source, update smsapi.UpdateSource) error {
	known := measures(source.Info)
	one := func(path string, want smsapi.VolumeChoice) error {
		m, ok := known[path]
		if !ok {
			return smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "the source has no %q", want.ID)
		}
		c := chosen(source, path)
		if want.NeedMigration != nil {
			c.NeedMigration = *want.NeedMigration
		}
		if want.AdjustSize != nil {
			c.AdjustSize = *want.AdjustSize
		}
		if c.AdjustSize > 0 && c.AdjustSize < m.least() {
			return smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "adjust_size of %q: at least %d bytes are needed", want.ID, m.least())
		}
		source.Choices[path] = c
		return nil
	}
	for _, d := range update.Disks {
		if err := one(diskPath(d.ID), d.VolumeChoice); err != nil {
			return err
		}
		for _, p := range d.PhysicalVolumes {
			if err := one(diskPath(d.ID, p.ID), p); err != nil {
				return err
			}
		}
	}
	for _, g := range update.VolumeGroups {
		if err := one(groupPath(g.ID), g.VolumeChoice); err != nil {
			return err
		}
		for _, v := range g.LogicalVolumes {
			if err := one(groupPath(g.ID, v.ID), v); err != nil {
				return err
			}
		}
	}
	return nil
}
