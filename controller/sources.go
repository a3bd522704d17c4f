package controller

import (
	"errors"
	"math"
	"net/http"
	"slices"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

// sourceRoutes are the operations on sources.
var sourceRoutes = []Route{
	{
		Method: "POST", Path: "/v3/sources", Name: "RegisterServer", Who: Users | Agents, MaxBody: largeBody,
		Request: smsapi.RegisterSource{}, Response: smsapi.RegisteredSource{}, serve: (*Server).registerSource,
	},
	{
		Method: "GET", Path: "/v3/sources", Name: "ListServers", Who: Users,
		Query: []string{
			"state", "name", "id", "ip", "ipv6", "migproject", "limit", "offset", "migration_cycle", "connected", "enterprise_project_id",
			"is_consistency_result_exist", "vm_id",
		},
		Response: smsapi.SourceList{}, serve: (*Server).listSources,
	},
	{
		Method: "GET", Path: "/v3/sources/overview", Name: "ShowOverview", Who: Users,
		Response: smsapi.SourceOverview{}, serve: (*Server).showOverview,
	},
	{
		Method: "POST", Path: "/v3/sources/delete", Name: "DeleteServers", Who: Users, MaxBody: largeBody,
		Request: smsapi.IDs{}, serve: (*Server).deleteSources,
	},
	{
		Method: "GET", Path: "/v3/sources/{source_id}", Name: "ShowServer", Who: Users | Agents,
		Response: smsapi.Source{}, serve: (*Server).showSource,
	},
	{
		Method: "PUT", Path: "/v3/sources/{source_id}", Name: "UpdateServerName", Who: Users, MaxBody: largeBody,
		Request: smsapi.UpdateSource{}, serve: (*Server).updateSource,
	},
	{
		Method: "DELETE", Path: "/v3/sources/{source_id}", Name: "DeleteServer", Who: Users,
		serve: (*Server).deleteSource,
	},
	{
		Method: "PUT", Path: "/v3/sources/{source_id}/diskinfo", Name: "UpdateDiskInfo", Who: Users | Agents, MaxBody: largeBody,
		Request: smsapi.UpdateDiskInfo{}, serve: (*Server).updateDiskInfo,
	},
	{
		Method: "PUT", Path: "/v3/sources/{source_id}/changestate", Name: "UpdateCopyState", Who: Agents, MaxBody: smallBody,
		Request: smsapi.CopyState{}, serve: (*Server).updateCopyState,
	},
	{
		Method: "GET", Path: "/v3/errors", Name: "ListErrorServers", Who: Users,
		Query: []string{"limit", "offset", "enterprise_project_id"}, Response: smsapi.MigrationErrors{}, serve: (*Server).listErrors,
	},
}

// silence is the time after which an agent must have been heard of to count as connected.
func (s *Server) silence() int64 { return s.now().Add(-connectedFor).UnixMilli() }

// registerSource serves POST /v3/sources. A source that is known, by the id it sends or by its first interface, keeps its id.
func (s *Server) registerSource(r *http.Request, body []byte) (any, error) {
	var info smsapi.RegisterSource
	if err := smsapi.Decode(body, &info); err != nil {
		return nil, err
	}
	var id string
	err := s.store.Change(r.Context(), func(tx *store.Tx) (err error) {
		fresh := info.ID
		if fresh == "" {
			fresh = uuid.NewString()
		}
		if id, err = tx.ClaimMAC(info.Networks[0].MAC, fresh); err != nil {
			return err
		}
		if info.ID != "" {
			id = info.ID // it knows better than its interface, which others may have too
		}
		if err := claim(r.Context(), tx, id); err != nil {
			return err
		}
		return register(tx, id, info, s.now().UnixMilli(), s.silence())
	})
	if err != nil {
		return nil, err
	}
	s.log.Info("source registered", "source", id, "name", info.Name)
	return smsapi.RegisteredSource{ID: id}, nil
}

// register stores what an agent says when it starts. As long as nobody has made a task for the source it replaces all that was
// known of it, even the name; afterwards it only shows that the agent is there.
func register(tx *store.Tx, id string, info smsapi.RegisterSource, now, silence int64) error {
	info.ID = id
	fresh := &store.Source{
		ID: id, Name: info.Name, Info: info, Choices: map[string]smsapi.Choice{},
		Added: now, StateAt: now, CycleAt: now, Seen: now, Since: now,
	}
	if project, err := tx.DefaultProject(); err == nil {
		fresh.ProjectID, fresh.EnterpriseID = project.ID, project.Body.EnterpriseProject
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	examine(fresh, now)
	task, err := tx.CurrentTask(id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if added, err := tx.AddSource(fresh); err != nil || added {
		if err == nil && task != nil { // made before the source came
			err = followTask(tx, task, now)
		}
		return err
	}
	known, err := tx.Source(id)
	if err != nil {
		return err
	}
	heard(known, now, silence)
	if task == nil {
		known.Name, known.Info = info.Name, info
		examine(known, now)
	}
	return tx.SaveSource(known)
}

// heard keeps that the agent of a source was heard of.
func heard(source *store.Source, now, silence int64) {
	if source.Seen <= silence {
		source.Since = now
	}
	source.Seen = now
}

// listSources serves GET /v3/sources.
func (s *Server) listSources(r *http.Request, _ []byte) (any, error) {
	query, err := smsapi.ParseSourceQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	list := smsapi.SourceList{Sources: []smsapi.ListedSourceServer{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		page, count, err := tx.Sources(store.SourceFilter{SourceQuery: query, Silence: s.silence()})
		if err != nil {
			return err
		}
		list.Count = count
		tasks, err := tx.CurrentTasks(page)
		for _, source := range page {
			list.Sources = append(list.Sources, listedSource(source, tasks[source.ID], s.now()))
		}
		return err
	})
	return list, err
}

// currentTask returns the newest task of a source, nil if it has none.
func currentTask(tx *store.Tx, source string) (*store.Task, error) {
	task, err := tx.CurrentTask(source)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return task, err
}

// showSource serves GET /v3/sources/{source_id}.
func (s *Server) showSource(r *http.Request, _ []byte) (any, error) {
	var view smsapi.Source
	id := r.PathValue("source_id")
	err := s.store.View(r.Context(), func(tx *store.Tx) error {
		source, err := tx.Source(id)
		if err != nil {
			return noSource(err, id)
		}
		task, err := currentTask(tx, id)
		view = shownSource(source, task, s.now())
		return err
	})
	return view, err
}

// noSource turns store.ErrNotFound into what the API says.
func noSource(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "there is no source %q", id)
	}
	return err
}

// showOverview serves GET /v3/sources/overview.
func (s *Server) showOverview(r *http.Request, _ []byte) (any, error) {
	var o smsapi.SourceOverview
	err := s.store.View(r.Context(), func(tx *store.Tx) error {
		counts, err := tx.CountSources()
		o = overview(counts)
		return err
	})
	return o, err
}

// overview sums up states. Those that it has no counter for are left out, as the service does.
func overview(counts []store.StateCount) (o smsapi.SourceOverview) {
	counters := map[smsapi.SourceState]*int{
		smsapi.SourceWaiting: &o.Waiting, smsapi.SourceReplicate: &o.Replicate, smsapi.SourceSyncing: &o.Syncing, smsapi.SourceStopped: &o.Stopped,
		smsapi.SourceDeleting: &o.Deleting, smsapi.SourceCutovering: &o.Cutovering, smsapi.SourceUnavailable: &o.Unavailable,
		smsapi.SourceStopping: &o.Stopping, smsapi.SourceSkipping: &o.Skipping, smsapi.SourceFinished: &o.Finished,
		smsapi.SourceInitialize: &o.Initialize, smsapi.SourceError: &o.Error, smsapi.SourceCloning: &o.Cloning,
	}
	for _, c := range counts {
		counter := counters[c.State]
		if c.State == smsapi.SourceWaiting && !c.WithTask {
			counter = &o.Unconfigured
		}
		if counter != nil {
			*counter += c.Count
		}
	}
	return o
}

// deleteSource serves DELETE /v3/sources/{source_id}. The source is gone with its tasks, whatever they do: its agent learns it with
// the next call, and is back when it registers.
func (s *Server) deleteSource(r *http.Request, _ []byte) (any, error) {
	return nil, s.forgetSources(r, r.PathValue("source_id"))
}

// deleteSources serves POST /v3/sources/delete. All are deleted or, if one does not exist, none.
func (s *Server) deleteSources(r *http.Request, body []byte) (any, error) {
	var request smsapi.IDs
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	slices.Sort(request.IDs) // changes that meet lock in one order
	return nil, s.forgetSources(r, slices.Compact(request.IDs)...)
}

func (s *Server) forgetSources(r *http.Request, ids ...string) error {
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		for _, id := range ids {
			tasks, _, err := tx.Tasks(smsapi.TaskQuery{SourceServerID: id, Limit: math.MaxInt32})
			for _, task := range tasks {
				err = errors.Join(err, tx.DropTemplates(task))
			}
			if err := errors.Join(err, releaseMigrations(tx, id, s.now()), tx.DeleteSource(id)); err != nil {
				return noSource(err, id)
			}
		}
		return nil
	})
	if err == nil {
		s.log.Info("sources deleted", "sources", ids)
	}
	return err
}

// updateDiskInfo serves PUT /v3/sources/{source_id}/diskinfo. Once the source has a task it is accepted and ignored.
func (s *Server) updateDiskInfo(r *http.Request, body []byte) (any, error) {
	var disks smsapi.UpdateDiskInfo
	if err := smsapi.Decode(body, &disks); err != nil {
		return nil, err
	}
	return nil, s.changeSource(r, func(source *store.Source, task *store.Task) error {
		if pending(source, task) {
			source.Info.Disks, source.Info.VolumeGroups, source.Info.BtrfsList = disks.Disks, disks.VolumeGroups, disks.BtrfsList
			examineDisks(source, s.now().UnixMilli())
		}
		return nil
	})
}

// changeSource changes the source that the path names, with its newest task in sight.
func (s *Server) changeSource(r *http.Request, change func(*store.Source, *store.Task) error) error {
	id := r.PathValue("source_id")
	return s.store.Change(r.Context(), func(tx *store.Tx) error {
		source, err := tx.Source(id)
		if err != nil {
			return noSource(err, id)
		}
		task, err := currentTask(tx, id)
		if err != nil {
			return err
		}
		if err := change(source, task); err != nil {
			return err
		}
		return tx.SaveSource(source)
	})
}

// listErrors serves GET /v3/errors.
func (s *Server) listErrors(r *http.Request, _ []byte) (any, error) {
	query, err := smsapi.ParsePageQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	list := smsapi.MigrationErrors{Errors: []smsapi.MigrationError{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		page, count, err := tx.FailedSources(query)
		list.Count = count
		for _, f := range page {
			list.Errors = append(list.Errors, smsapi.MigrationError{
				ErrorJSON: f.ErrorJSON, HostName: f.Info.Hostname, Name: f.Name, SourceID: f.SourceID, SourceIP: f.IP, TargetIP: f.Request.MigrationIP,
			})
		}
		return err
	})
	return list, err
}
