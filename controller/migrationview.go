package controller

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
)

// migration returns a migration as it is stored.
func (s *Server) migration(r *http.Request, id string) (m *store.Migration, err error) {
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		m, err = tx.Migration(id)
		return err
	})
	return m, noMigration(err, id)
}

// showMigration serves GET /v2/{project_id}/migration-task/{task_id}.
func (s *Server) showMigration(r *http.Request, _ []byte) (any, error) {
	m, err := s.migration(r, r.PathValue("task_id"))
	if err != nil {
		return nil, err
	}
	return shownMigration(m), nil
}

func shownMigration(m *store.Migration) dcsapi.Migration {
	p := m.Plan
	return dcsapi.Migration{
		ID: m.ID, Name: p.Name, Description: p.Description, Status: m.Status, Type: p.Type, Method: p.Method, MachineIP: m.Progress.IP,
		BackupFiles: p.BackupFiles.Shown(), Network: p.Network, Source: p.Source, Target: p.Target,
		CreatedAt: apiTime(&m.Created), UpdatedAt: apiTime(m.Updated), ReleasedAt: apiTime(m.Released), Version: m.Progress.Version,
		ResumeMode: p.ResumeMode, SupportedFeatures: supportedFeatures(m), VPCID: p.VPCID, SubnetID: p.SubnetID,
		SecurityGroupID: p.SecurityGroupID, BandwidthLimit: p.BandwidthLimit,
	}
}

// supportedFeatures names what the machine of a migration can do; nothing before it has one.
func supportedFeatures(m *store.Migration) []string {
	if m.Machine == "" {
		return nil
	}
	return []string{string(dcsapi.FullAmount), string(dcsapi.Follow), string(dcsapi.BackupImport)}
}

// apiTime returns a time as the API writes it, empty for nil.
func apiTime(ms *int64) string {
	if ms == nil {
		return ""
	}
	return dcsapi.Time(time.UnixMilli(*ms))
}

func changedMigration(m *store.Migration) dcsapi.ChangedMigration {
	return dcsapi.ChangedMigration{ID: m.ID, Name: m.Plan.Name, Status: m.Status}
}

// listMigrations serves GET /v2/{project_id}/migration-tasks.
func (s *Server) listMigrations(r *http.Request, _ []byte) (any, error) {
	query, err := dcsapi.ParseListQuery(r.URL.Query())
	if err != nil {
		return nil, invalidMigration(err)
	}
	list := dcsapi.MigrationList{Tasks: []dcsapi.ListedMigration{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		page, count, err := tx.Migrations(query)
		list.Count = count
		for _, m := range page {
			list.Tasks = append(list.Tasks, listedMigration(m))
		}
		return err
	})
	return list, err
}

func listedMigration(m *store.Migration) dcsapi.ListedMigration {
	p := m.Plan
	listed := dcsapi.ListedMigration{
		ID: m.ID, Name: p.Name, Status: m.Status, Type: p.Type, Method: p.Method, MachineIP: m.Progress.IP, CreatedAt: apiTime(&m.Created),
		Description: p.Description, ErrorMessage: m.Progress.Error, ReleasedAt: apiTime(m.Released), Version: m.Progress.Version,
		ResumeMode: p.ResumeMode, SupportedFeatures: append([]string{}, supportedFeatures(m)...),
	}
	if p.Source != nil {
		listed.DataSource, listed.SourceName, listed.SourceID = p.Source.Addrs, p.Source.Name, p.Source.ID
	} else if p.BackupFiles != nil {
		listed.DataSource = p.BackupFiles.BucketName
	}
	if p.Target != nil {
		listed.TargetAddrs, listed.TargetName, listed.TargetID = p.Target.Addrs, p.Target.Name, p.Target.ID
	}
	return listed
}

// showMigrationStats serves GET /v2/{project_id}/migration-task/{task_id}/stats: what its machine said last.
func (s *Server) showMigrationStats(r *http.Request, _ []byte) (any, error) {
	m, err := s.migration(r, r.PathValue("task_id"))
	if err != nil {
		return nil, err
	}
	w := m.Progress.Work
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return dcsapi.Stats{
		FullProgress: strconv.Itoa(w.Percent), Offset: number(w.Offset), SourceKeys: number(w.SourceKeys), TargetKeys: number(w.TargetKeys),
		TargetInput: strconv.FormatFloat(float64(w.TargetInput)/1024, 'f', 2, 64), TargetOps: number(w.TargetOps),
		Migrating: m.Machine != "" && slices.Contains(dcsapi.Running, m.Status),
		LagMs:     w.LagMs, LagBytes: w.LagBytes, Bytes: w.Bytes, RemainSeconds: w.RemainSeconds,
	}, nil
}

// listMigrationLogs serves GET /v2/{project_id}/migration-task/{task_id}/logs.
func (s *Server) listMigrationLogs(r *http.Request, _ []byte) (any, error) {
	query, err := dcsapi.ParseListQuery(r.URL.Query())
	if err != nil {
		return nil, invalidMigration(err)
	}
	id := r.PathValue("task_id")
	answer := dcsapi.MigrationLogs{Logs: []dcsapi.MigrationLog{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		m, err := tx.Migration(id)
		if err != nil {
			return noMigration(err, id)
		}
		page, count, err := tx.MigrationLogs(m, query)
		answer.Count = count
		for _, line := range page {
			answer.Logs = append(answer.Logs, dcsapi.MigrationLog{
				CreatedAt: dcsapi.LogTime(time.Unix(0, line.At)), Level: line.Level, Message: line.Message, Code: line.Code, Keywords: []string{},
			})
		}
		return err
	})
	return answer, err
}

// order returns what a machine is to do for a migration, passwords included.
func (s *Server) order(m *store.Migration) (dcsapi.Order, error) {
	p := m.Plan
	order := dcsapi.Order{
		ID: m.ID, Name: p.Name, Run: m.Progress.Run, Stop: m.Status == dcsapi.Terminating, Type: p.Type, Method: p.Method,
		ResumeMode: p.ResumeMode, BandwidthLimit: p.BandwidthLimit, Target: *p.Target,
	}
	var secret pair
	if m.Passwords != nil {
		text, err := s.identities.Open(passwordsName(m.ID), m.Passwords)
		if err != nil {
			return order, err
		}
		if err := json.Unmarshal(text, &secret); err != nil {
			return order, err
		}
	}
	order.Target.Password = secret.Target
	if p.Source != nil {
		source := *p.Source
		source.Password = secret.Source
		order.Source = &source
	}
	if p.BackupFiles != nil {
		order.Files = p.BackupFiles.Names()
	}
	return order, nil
}
