package controller

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

// migrationRoutes are the operations of the DCS API on migrations of Redis, and the one by which machines work on them. There is one
// project, whatever a path calls it.
var migrationRoutes = []Route{
	{
		Method: "POST", Path: "/v2/{project_id}/migration-task", Name: "CreateMigrationTask", Who: Users, MaxBody: largeBody,
		Request: dcsapi.CreateMigration{}, Response: dcsapi.ChangedMigration{}, serve: (*Server).createMigration,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration/instance", Name: "CreateOnlineMigrationTask", Who: Users, MaxBody: smallBody,
		Request: dcsapi.CreateMachine{}, Response: dcsapi.CreatedMachine{}, serve: (*Server).createMachine,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration/{task_id}/task", Name: "SetOnlineMigrationTask", Who: Users, MaxBody: smallBody,
		Request: dcsapi.Configure{}, Response: dcsapi.ChangedMigration{}, serve: (*Server).configureMigration,
	},
	{
		Method: "GET", Path: "/v2/{project_id}/migration-tasks", Name: "ListMigrationTask", Who: Users, Query: []string{"offset", "limit", "name"},
		Response: dcsapi.MigrationList{}, serve: (*Server).listMigrations,
	},
	{
		Method: "GET", Path: "/v2/{project_id}/migration-task/{task_id}", Name: "ShowMigrationTask", Who: Users,
		Response: dcsapi.Migration{}, serve: (*Server).showMigration,
	},
	{
		Method: "GET", Path: "/v2/{project_id}/migration-task/{task_id}/stats", Name: "ShowMigrationTaskStats", Who: Users,
		Response: dcsapi.Stats{}, serve: (*Server).showMigrationStats,
	},
	{
		Method: "GET", Path: "/v2/{project_id}/migration-task/{task_id}/logs", Name: "ListMigrationTaskLogs", Who: Users,
		Query: []string{"offset", "limit", "log_level"}, Response: dcsapi.MigrationLogs{}, serve: (*Server).listMigrationLogs,
	},
	{
		Method: "PUT", Path: "/v2/{project_id}/migration-task/{task_id}", Name: "UpdateMigrationTask", Who: Users, MaxBody: smallBody,
		Request: dcsapi.UpdateMigration{}, serve: (*Server).updateMigration,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration-task/{task_id}/stop", Name: "StopMigrationTask", Who: Users, MaxBody: smallBody,
		Response: dcsapi.Migration{}, serve: (*Server).stopMigration,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration-task/{task_id}/sync-stop", Name: "StopMigrationTaskSync", Who: Users, MaxBody: smallBody,
		Status: http.StatusNoContent, serve: (*Server).stopMigrationAndWait,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration-task/batch-stop", Name: "BatchStopMigrationTasks", Who: Users, MaxBody: smallBody,
		Request: dcsapi.Migrations{}, Response: dcsapi.MigrationResults{}, serve: (*Server).stopMigrations,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration-tasks/batch-restart", Name: "BatchRestartOnlineMigrationTasks", Who: Users, MaxBody: smallBody,
		Request: dcsapi.Migrations{}, Response: dcsapi.MigrationResults{}, serve: (*Server).restartMigrations,
	},
	{
		Method: "DELETE", Path: "/v2/{project_id}/migration-tasks/delete", Name: "DeleteMigrationTask", Who: Users, MaxBody: smallBody,
		Request: dcsapi.DeleteMigrations{}, Response: dcsapi.DeleteMigrations{}, serve: (*Server).deleteMigrations,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration-task/{task_id}/exchange-ip", Name: "ExchangeInstanceIp", Who: Users, MaxBody: smallBody,
		Request: dcsapi.ExchangeIP{}, serve: (*Server).exchangeIP,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration-task/{task_id}/rollback-ip", Name: "RollbackExchangeInstanceIp", Who: Users, MaxBody: smallBody,
		serve: (*Server).exchangeIP,
	},
	{
		Method: "POST", Path: "/v2/{project_id}/migration-machines/{server_id}/work", Name: "WorkOnMigrationTasks", Who: Machines, MaxBody: largeBody,
		Request: dcsapi.Work{}, Response: dcsapi.Orders{}, serve: (*Server).workOnMigrations,
	},
}

// decodeMigration reads a body of the DCS API, whose types check themselves what spans fields.
func decodeMigration(body []byte, into interface{ Check() error }) error {
	if err := smsapi.Decode(body, into); err != nil {
		return err
	}
	return invalidMigration(into.Check())
}

// invalidMigration turns what is wrong with a request into what the API says.
func invalidMigration(err error) error {
	if err != nil {
		return smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "%v", err)
	}
	return nil
}

// createMachine serves POST /v2/{project_id}/migration/instance. The machine is an agent, chosen once the task is configured.
func (s *Server) createMachine(r *http.Request, body []byte) (any, error) {
	var ask dcsapi.CreateMachine
	if err := smsapi.Decode(body, &ask); err != nil {
		return nil, err
	}
	m := &store.Migration{ID: uuid.NewString(), Status: dcsapi.ToConfigure, Plan: store.Plan{
		Name: ask.Name, Description: ask.Description, Type: dcsapi.Online, VPCID: ask.VPCID, SubnetID: ask.SubnetID, SecurityGroupID: ask.SecurityGroupID,
	}}
	return dcsapi.CreatedMachine{InstanceID: m.ID}, s.addMigration(r, m)
}

// createMigration serves POST /v2/{project_id}/migration-task.
func (s *Server) createMigration(r *http.Request, body []byte) (any, error) {
	var ask dcsapi.CreateMigration
	if err := decodeMigration(body, &ask); err != nil {
		return nil, err
	}
	m := &store.Migration{ID: uuid.NewString(), Status: dcsapi.Migrating, Plan: store.Plan{
		Name: ask.Name, Description: ask.Description, Type: ask.Type, Method: ask.Method, ResumeMode: dcsapi.Auto, Network: ask.Network,
	}}
	if ask.Type == dcsapi.BackupImport {
		m.Plan.BackupFiles, ask.Source = ask.BackupFiles, nil
	}
	if err := s.setInstances(m, ask.Source, &ask.Target); err != nil {
		return nil, err
	}
	return changedMigration(m), s.addMigration(r, m)
}

func (s *Server) addMigration(r *http.Request, m *store.Migration) error {
	now := s.now()
	m.Created = now.UnixMilli()
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		if err := tx.AddMigration(m); err != nil {
			return err
		}
		if err := noteMigration(tx, m, now, "the task was created"); err != nil {
			return err
		}
		return tx.SaveMigration(m)
	})
	if err == nil {
		s.log.Info("migration created", "migration", m.ID, "name", m.Plan.Name, "type", m.Plan.Type)
	}
	return err
}

// A pair is the passwords of the two sides of a migration.
type pair struct{ Source, Target string }

// passwordsName is what the passwords of a migration are sealed under.
func passwordsName(migration string) string { return "passwords of migration " + migration }

// setInstances keeps source and target, and their passwords sealed.
func (s *Server) setInstances(m *store.Migration, source, target *dcsapi.Instance) error {
	var secret pair
	for _, side := range []struct {
		instance *dcsapi.Instance
		password *string
		plan     **dcsapi.Instance
	}{{source, &secret.Source, &m.Plan.Source}, {target, &secret.Target, &m.Plan.Target}} {
		if side.instance == nil {
			continue
		}
		*side.password = side.instance.Password
		shown := side.instance.Shown()
		*side.plan = &shown
	}
	m.Passwords = nil
	if secret == (pair{}) {
		return nil
	}
	text, err := json.Marshal(secret)
	if err == nil {
		m.Passwords = s.identities.Seal(passwordsName(m.ID), text)
	}
	return err
}

// changeMigration changes the migration that the path names, in one transaction, and keeps in its log what was done.
func (s *Server) changeMigration(r *http.Request, id, said string, change func(m *store.Migration) error) (m *store.Migration, err error) {
	now := s.now()
	err = s.store.Change(r.Context(), func(tx *store.Tx) error {
		if m, err = tx.Migration(id); err != nil {
			return noMigration(err, id)
		}
		before := m.Status
		if err := change(m); err != nil {
			return err
		}
		if before != m.Status {
			turned(m, now)
		}
		if err := noteMigration(tx, m, now, said); err != nil {
			return err
		}
		return tx.SaveMigration(m)
	})
	if err == nil {
		s.log.Info("migration changed", "migration", id, "status", m.Status, "because", said)
	}
	return m, err
}

// configureMigration serves POST /v2/{project_id}/migration/{task_id}/task.
func (s *Server) configureMigration(r *http.Request, body []byte) (any, error) {
	var ask dcsapi.Configure
	if err := decodeMigration(body, &ask); err != nil {
		return nil, err
	}
	m, err := s.changeMigration(r, r.PathValue("task_id"), "the task was configured", func(m *store.Migration) error {
		if m.Plan.Type != dcsapi.Online {
			return smsapi.NewError(http.StatusBadRequest, smsapi.CodeState, "a backup import is configured when it is created")
		}
		if err := allowedIn(m, "configured", configurable); err != nil {
			return err
		}
		m.Plan.Method, m.Plan.ResumeMode, m.Plan.BandwidthLimit = ask.Method, ask.ResumeMode, ask.BandwidthLimit
		if err := s.setInstances(m, &ask.Source, &ask.Target); err != nil {
			return err
		}
		startMigration(m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return changedMigration(m), nil
}

// updateMigration serves PUT /v2/{project_id}/migration-task/{task_id}. The machine learns of it when it asks next.
func (s *Server) updateMigration(r *http.Request, body []byte) (any, error) {
	var ask dcsapi.UpdateMigration
	if err := smsapi.Decode(body, &ask); err != nil {
		return nil, err
	}
	_, err := s.changeMigration(r, r.PathValue("task_id"), "resume_mode is "+string(ask.ResumeMode), func(m *store.Migration) error {
		if m.Status == dcsapi.Released {
			return allowedIn(m, "updated", nil)
		}
		m.Plan.ResumeMode = ask.ResumeMode
		return nil
	})
	return nil, err
}

// orderStop stops a migration: at once if no machine has it, else once its machine has.
func (s *Server) orderStop(r *http.Request, id string) (*store.Migration, error) {
	return s.changeMigration(r, id, "the task is to stop", func(m *store.Migration) error {
		if err := allowedIn(m, "stopped", dcsapi.Running); err != nil {
			return err
		}
		if m.Status = dcsapi.Terminating; m.Machine == "" {
			m.Status = dcsapi.Terminated
		}
		return nil
	})
}

// stopMigration serves POST /v2/{project_id}/migration-task/{task_id}/stop. It does not wait.
func (s *Server) stopMigration(r *http.Request, _ []byte) (any, error) {
	m, err := s.orderStop(r, r.PathValue("task_id"))
	if err != nil {
		return nil, err
	}
	return shownMigration(m), nil
}

// How long a stop is waited for, below what an answer may take, and how often it is looked for.
const (
	stopPatience  = 45 * time.Second
	stopLookEvery = 100 * time.Millisecond
)

// stopMigrationAndWait serves POST /v2/{project_id}/migration-task/{task_id}/sync-stop: it answers once the migration has ended.
func (s *Server) stopMigrationAndWait(r *http.Request, _ []byte) (any, error) {
	id := r.PathValue("task_id")
	m, err := s.orderStop(r, id)
	tick := time.NewTicker(stopLookEvery)
	defer tick.Stop()
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	for err == nil && !m.Status.Ended() && !s.stopping.Load() {
		select {
		case <-tick.C:
			m, err = s.migration(r, id)
		case <-patience.C:
			return nil, smsapi.NewError(http.StatusInternalServerError, smsapi.CodeState, "the machine of task %q has not stopped yet; it is told at its next word", id)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return nil, err
}

// stopMigrations serves POST /v2/{project_id}/migration-task/batch-stop.
func (s *Server) stopMigrations(r *http.Request, body []byte) (any, error) {
	return s.eachMigration(body, func(id string) error {
		_, err := s.orderStop(r, id)
		return err
	})
}

// restartMigrations serves POST /v2/{project_id}/migration-tasks/batch-restart. A migration goes on where it was if source and target
// still allow it.
func (s *Server) restartMigrations(r *http.Request, body []byte) (any, error) {
	return s.eachMigration(body, func(id string) error {
		_, err := s.changeMigration(r, id, "the task is to start again", func(m *store.Migration) error {
			if m.Plan.Type != dcsapi.Online {
				return smsapi.NewError(http.StatusBadRequest, smsapi.CodeState, "a backup import is not restarted: create another one")
			}
			if err := allowedIn(m, "restarted", restartable); err != nil {
				return err
			}
			startMigration(m)
			return nil
		})
		return err
	})
}

// eachMigration does something to each of several migrations, whatever comes of the others.
func (s *Server) eachMigration(body []byte, do func(id string) error) (any, error) {
	var ask dcsapi.Migrations
	if err := smsapi.Decode(body, &ask); err != nil {
		return nil, err
	}
	answer := dcsapi.MigrationResults{Tasks: []dcsapi.MigrationResult{}}
	for _, id := range ask.IDs {
		result := dcsapi.MigrationResult{ID: id, Result: dcsapi.ResultSuccess}
		err := do(id)
		var refused *smsapi.Error
		switch {
		case errors.As(err, &refused):
			result.Result, result.Code, result.Message = dcsapi.ResultFailed, refused.Code, refused.Message
		case err != nil:
			return nil, err
		}
		answer.Tasks = append(answer.Tasks, result)
	}
	return answer, nil
}

// deleteMigrations serves DELETE /v2/{project_id}/migration-tasks/delete. All are deleted or, if one may not be, none.
func (s *Server) deleteMigrations(r *http.Request, body []byte) (any, error) {
	var ask dcsapi.DeleteMigrations
	if err := smsapi.Decode(body, &ask); err != nil {
		return nil, err
	}
	ids := slices.Compact(slices.Sorted(slices.Values(ask.IDs))) // changes that meet lock in one order
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		for _, id := range ids {
			m, err := tx.Migration(id)
			if err != nil {
				return noMigration(err, id)
			}
			if slices.Contains(dcsapi.Running, m.Status) {
				return smsapi.NewError(http.StatusBadRequest, smsapi.CodeState, "task %q is %s: stop it first", id, m.Status)
			}
			if err := tx.DeleteMigration(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.log.Info("migrations deleted", "migrations", ids)
	return dcsapi.DeleteMigrations{IDs: ids}, nil
}

// exchangeIP refuses the exchange of addresses of source and target, and to take it back: both have addresses that their owners gave
// them, not a cloud whose addresses can be moved.
func (s *Server) exchangeIP(r *http.Request, body []byte) (any, error) {
	if len(body) > 0 {
		var ask dcsapi.ExchangeIP
		if err := smsapi.Decode(body, &ask); err != nil {
			return nil, err
		}
	}
	if _, err := s.migration(r, r.PathValue("task_id")); err != nil {
		return nil, err
	}
	return nil, smsapi.NewError(http.StatusBadRequest, smsapi.CodeState,
		"no address can be moved from here: stop what writes, stop the task with sync-stop, then point the clients at the target")
}

// noMigration turns store.ErrNotFound into what the API says.
func noMigration(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "there is no migration task %q", id)
	}
	return err
}
