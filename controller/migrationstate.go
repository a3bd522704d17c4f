package controller

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// In which statuses users may ask for what; what follows from reports of the machine is in reported. A running migration may be stopped.
var (
	configurable = []dcsapi.Status{dcsapi.ToConfigure, dcsapi.Terminated, dcsapi.MigrationFailed}
	restartable  = []dcsapi.Status{dcsapi.Terminated, dcsapi.MigrationFailed}
)

// allowedIn refuses what may not be asked for in the status of a migration.
func allowedIn(m *store.Migration, what string, in []dcsapi.Status) error {
	if slices.Contains(in, m.Status) {
		return nil
	}
	return smsapi.NewError(http.StatusBadRequest, smsapi.CodeState, "a task that is %s cannot be %s", m.Status, what)
}

// startMigration orders a migration to run, once more if it did before.
func startMigration(m *store.Migration) {
	m.Status = dcsapi.Migrating
	m.Progress = store.Progress{Run: m.Progress.Run + 1, Version: m.Progress.Version, IP: m.Progress.IP, Logged: m.Progress.Logged}
}

// turned keeps when the status of a migration changed.
func turned(m *store.Migration, now time.Time) {
	at := now.UnixMilli()
	m.Updated = &at
}

// noteMigration adds a line of the control plane's own to a migration's log. The caller saves the migration.
func noteMigration(tx *store.Tx, m *store.Migration, now time.Time, said string) error {
	m.Progress.Logged = max(now.UnixNano(), m.Progress.Logged+1)
	return tx.AddMigrationLogs(m, dcsapi.WorkLog{At: m.Progress.Logged, Level: dcsapi.Info, Message: said})
}

// reported returns the status of a running migration after a report. One that is to stop goes on stopping while its machine works.
func reported(m *store.Migration, phase dcsapi.Phase) dcsapi.Status {
	stopping := m.Status == dcsapi.Terminating
	switch {
	case stopping && (phase == dcsapi.PhaseDone || phase == dcsapi.PhaseStopped || phase == dcsapi.PhaseFailed):
		return dcsapi.Terminated
	case stopping, phase == dcsapi.PhaseStopped, phase == dcsapi.PhaseConnect:
		return m.Status
	case phase == dcsapi.PhaseDone:
		return dcsapi.Succeeded
	case phase == dcsapi.PhaseFailed && m.Plan.Type == dcsapi.BackupImport:
		return dcsapi.Failed
	case phase == dcsapi.PhaseFailed:
		return dcsapi.MigrationFailed
	case m.Plan.Type == dcsapi.BackupImport:
		return dcsapi.Migrating
	case phase == dcsapi.PhaseFollow && m.Plan.Method == dcsapi.Follow:
		return dcsapi.Incremental
	}
	return dcsapi.FullMigrating
}

// workOnMigrations serves POST /v2/{project_id}/migration-machines/{server_id}/work: how a machine reports, takes tasks that wait and
// learns what it is to do.
func (s *Server) workOnMigrations(r *http.Request, body []byte) (any, error) {
	var work dcsapi.Work
	if err := smsapi.Decode(body, &work); err != nil {
		return nil, err
	}
	machine := r.PathValue("server_id")
	if err := s.heartbeat(r, machine); err != nil {
		return nil, err
	}
	var mine []*store.Migration
	err := s.store.Change(r.Context(), func(tx *store.Tx) (err error) {
		if _, err := tx.Source(machine); err != nil { // not deleted meanwhile
			return noSource(err, machine)
		}
		for _, report := range work.Reports {
			if err := s.hear(tx, machine, work, report); err != nil {
				return err
			}
		}
		if mine, err = tx.MachineMigrations(machine, math.MaxInt32, dcsapi.Running...); err != nil || work.Free == 0 {
			return err
		}
		taken, err := s.take(tx, machine, work)
		mine = append(mine, taken...)
		return err
	})
	if err != nil {
		return nil, err
	}
	orders := dcsapi.Orders{Tasks: []dcsapi.Order{}}
	for _, m := range mine {
		order, err := s.order(m)
		if err != nil {
			return nil, err
		}
		orders.Tasks = append(orders.Tasks, order)
	}
	return orders, nil
}

// take gives migrations that wait to a machine.
func (s *Server) take(tx *store.Tx, machine string, work dcsapi.Work) ([]*store.Migration, error) {
	waiting, err := tx.MachineMigrations("", work.Free, dcsapi.Migrating)
	for _, m := range waiting {
		m.Machine, m.Progress.Version, m.Progress.IP = machine, work.Version, work.IP
		if err == nil {
			err = noteMigration(tx, m, s.now(), "the machine "+machine+" takes the task")
		}
		if err == nil {
			err = tx.SaveMigration(m)
		}
	}
	return waiting, err
}

// hear takes a report of a machine. One about a migration that is not the machine's, or about an earlier run, changes nothing.
func (s *Server) hear(tx *store.Tx, machine string, work dcsapi.Work, report dcsapi.WorkReport) error {
	m, err := tx.Migration(report.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case m.Machine != machine || report.Run != m.Progress.Run || !slices.Contains(dcsapi.Running, m.Status):
		return nil
	}
	m.Progress.Work, m.Progress.Version, m.Progress.IP = report.Progress, work.Version, work.IP
	for _, line := range report.Logs {
		m.Progress.Logged = max(m.Progress.Logged, line.At)
	}
	if report.Phase == dcsapi.PhaseFailed {
		m.Progress.Error, m.Progress.Code = report.Error, report.Code
	}
	if next := reported(m, report.Phase); next != m.Status {
		s.log.Info("migration changed", "migration", m.ID, "from", m.Status, "status", next, "error", report.Error)
		m.Status = next
		turned(m, s.now())
	}
	if err := tx.AddMigrationLogs(m, report.Logs...); err != nil {
		return err
	}
	return tx.SaveMigration(m)
}

// releaseMigrations takes its migrations from a machine that is gone: what has ended is RELEASED, what has not waits for another one.
func releaseMigrations(tx *store.Tx, machine string, now time.Time) error {
	list, err := tx.MachineMigrations(machine, math.MaxInt32, slices.Concat(dcsapi.Running, restartable, []dcsapi.Status{dcsapi.Succeeded, dcsapi.Failed})...)
	for _, m := range list {
		turned(m, now)
		switch {
		case m.Status == dcsapi.Terminating:
			m.Status = dcsapi.Terminated
		case !m.Status.Ended():
			m.Machine = ""
			startMigration(m)
		}
		if m.Status.Ended() {
			m.Status, m.Released = dcsapi.Released, m.Updated
		}
		if err == nil {
			err = noteMigration(tx, m, now, "the machine "+machine+" is gone")
		}
		if err == nil {
			err = tx.SaveMigration(m)
		}
	}
	return err
}
