package controller

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

// taskRoutes are the operations on tasks.
var taskRoutes = []Route{
	{
		Method: "POST", Path: "/v3/tasks", Name: "CreateTask", Who: Users, MaxBody: largeBody,
		Request: smsapi.CreateTaskRequest{}, Response: smsapi.CreateTaskResponse{}, serve: (*Server).createTask,
	},
	{
		Method: "GET", Path: "/v3/tasks", Name: "ListTasks", Who: Users | Agents,
		Query:    []string{"state", "name", "id", "source_server_id", "limit", "offset", "enterprise_project_id"},
		Response: smsapi.TaskList{}, serve: (*Server).listTasks,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}", Name: "ShowTask", Who: Users | Agents,
		Response: smsapi.Task{}, serve: (*Server).showTask,
	},
	{
		Method: "PUT", Path: "/v3/tasks/{task_id}", Name: "UpdateTask", Who: Users | Agents, MaxBody: largeBody,
		Request: smsapi.UpdateTask{}, Response: smsapi.UpdateTaskResponse{}, serve: (*Server).updateTask,
	},
	{
		Method: "DELETE", Path: "/v3/tasks/{task_id}", Name: "DeleteTask", Who: Users,
		serve: (*Server).deleteTask,
	},
	{
		Method: "POST", Path: "/v3/tasks/delete", Name: "DeleteTasks", Who: Users, MaxBody: smallBody,
		Request: smsapi.IDs{}, serve: (*Server).deleteTasks,
	},
	{
		Method: "POST", Path: "/v3/tasks/{task_id}/action", Name: "UpdateTaskStatus", Who: Users | Agents, MaxBody: smallBody,
		Request: smsapi.TaskAction{}, serve: (*Server).updateTaskStatus,
	},
	{
		Method: "PUT", Path: "/v3/tasks/{task_id}/progress", Name: "UpdateTaskSpeed", Who: Agents, MaxBody: smallBody,
		Request: smsapi.Progress{}, serve: (*Server).putProgress,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}/speed-limit", Name: "ShowsSpeedLimits", Who: Users | Agents,
		Response: smsapi.LimitWindows{}, serve: (*Server).showSpeedLimits,
	},
	{
		Method: "POST", Path: "/v3/tasks/{task_id}/speed-limit", Name: "UpdateSpeed", Who: Users, MaxBody: smallBody,
		Request: smsapi.LimitWindows{}, serve: (*Server).updateSpeed,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}/certkey", Name: "ShowCertKey", Who: Agents, Query: []string{"enable_ca_cert"},
		Response: smsapi.CertKey{}, serve: (*Server).showCertKey,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}/passphrase", Name: "ShowPassphrase", Who: Agents,
		Response: smsapi.Passphrase{}, serve: (*Server).showPassphrase,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}/configuration-setting", Name: "ShowConfigSetting", Who: Users | Agents, Query: []string{"config_key"},
		Response: smsapi.ShownSettings{}, serve: (*Server).showConfigSetting,
	},
	{
		Method: "POST", Path: "/v3/tasks/{task_id}/configuration-setting", Name: "UploadSpecialConfigurationSetting", Who: Users | Agents, MaxBody: smallBody,
		Request: smsapi.Configurations{}, serve: (*Server).uploadSettings,
	},
	{
		Method: "POST", Path: "/v3/{task_id}/update-network-check-info", Name: "UpdateNetworkCheckInfo", Who: Agents, MaxBody: smallBody,
		Request: smsapi.NetworkCheck{}, Response: smsapi.TaskID{}, serve: (*Server).updateNetworkCheckInfo,
	},
	{
		Method: "POST", Path: "/v3/tasks/{task_id}/consistency-result", Name: "UpdateConsistencyResult", Who: Agents, MaxBody: largeBody,
		Request: smsapi.Consistency{}, serve: (*Server).updateConsistency,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}/consistency-result", Name: "ShowConsistencyResult", Who: Users | Agents,
		Response: smsapi.ConsistencyList{}, serve: (*Server).showConsistency,
	},
	{
		Method: "POST", Path: "/v3/tasks/consistency-results/export", Name: "ExportConsistencyResults", Who: Users, MaxBody: largeBody,
		Request: smsapi.ExportConsistency{}, serve: (*Server).exportConsistency,
	},
	{
		Method: "POST", Path: "/v3/tasks/{task_id}/log", Name: "CollectLog", Who: Users, MaxBody: smallBody,
		Request: smsapi.CollectLog{}, serve: (*Server).collectLog,
	},
	{
		Method: "PUT", Path: "/v3/tasks/{task_id}/log/content", Name: "UploadLogs", Who: Agents, MaxBody: smsapi.MaxLogs,
		serve: (*Server).putLogs,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}/log/content", Name: "DownloadLogs", Who: Users,
		serve: (*Server).showLogs,
	},
}

// createTask serves POST /v3/tasks. A source that nobody registered is fine: the task waits for it.
func (s *Server) createTask(r *http.Request, body []byte) (any, error) {
	var request smsapi.CreateTaskRequest
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	now := s.now().UnixMilli()
	task := &store.Task{
		ID: uuid.NewString(), State: smsapi.StateReady, Request: request, TargetID: uuid.NewString(),
		Created: now, Subtasks: planned(request),
	}
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		var orders []*store.Command
		if request.AutoStart {
			var err error
			if orders, err = act(task, smsapi.TaskAction{Operation: smsapi.OpStart}, now); err != nil {
				return err
			}
		}
		if err := tx.CreateTask(task); err != nil {
			return err
		}
		if err := queue(tx, orders); err != nil {
			return err
		}
		return followTask(tx, task, now)
	})
	if err != nil {
		return nil, err
	}
	s.log.Info("task created", "task", task.ID, "name", request.Name, "source", request.SourceServer.ID)
	return smsapi.CreateTaskResponse{ID: task.ID}, nil
}

// listTasks serves GET /v3/tasks. An agent sees the tasks of its own sources only.
func (s *Server) listTasks(r *http.Request, _ []byte) (any, error) {
	query, err := smsapi.ParseTaskQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	var page []*store.Task
	var sources map[string]*store.Source
	list := smsapi.TaskList{Tasks: []smsapi.ListedTask{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		if page, list.Count, err = tx.OwnTasks(query, ownerIn(r)); err != nil {
			return err
		}
		sources, err = tx.SourcesOf(page...)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, task := range page {
		list.Tasks = append(list.Tasks, listedTask(task, sources[task.Request.SourceServer.ID], s.now()))
	}
	return list, nil
}

// ownerIn returns the user whose sources alone a caller may see; empty for one who may see all.
func ownerIn(r *http.Request) string {
	if caller := callerOf(r.Context()); caller.IsAgent() {
		return caller.ID
	}
	return ""
}

// task returns the task that the path names.
func (s *Server) task(r *http.Request) (task *store.Task, err error) {
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		task, err = tx.Task(r.PathValue("task_id"))
		return err
	})
	return task, notFound(err, r.PathValue("task_id"))
}

// showTask serves GET /v3/tasks/{task_id}.
func (s *Server) showTask(r *http.Request, _ []byte) (any, error) {
	id := r.PathValue("task_id")
	var view smsapi.Task
	err := s.store.View(r.Context(), func(tx *store.Tx) error {
		task, err := tx.Task(id)
		if err != nil {
			return notFound(err, id)
		}
		sources, err := tx.SourcesOf(task)
		view = shownTask(task, sources[task.Request.SourceServer.ID], s.now())
		return err
	})
	return view, err
}

// changeTask changes the task that the path names, and its source after it, in one transaction. What is logged with it says what was
// done, if anything changed that users see.
func (s *Server) changeTask(r *http.Request, change func(tx *store.Tx, t *store.Task) error, say ...any) error {
	id := r.PathValue("task_id")
	var before, after smsapi.TaskState
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		t, err := tx.Task(id)
		if err != nil {
			return notFound(err, id)
		}
		launching := t.Detail.Launching
		before = t.State
		if err := change(tx, t); err != nil {
			return err
		}
		after = t.State
		if err := tx.SaveTask(t); err != nil || before == after && launching == t.Detail.Launching {
			return err
		}
		return followTask(tx, t, s.now().UnixMilli())
	})
	if err == nil && (before != after || len(say) > 0) {
		s.log.Info("task changed", append([]any{"task", id, "from", before, "to", after}, say...)...)
	}
	return err
}

// putProgress serves PUT /v3/tasks/{task_id}/progress. The same report twice leaves the same task. One that is too fast for the limit,
// several times in a row, pauses it.
func (s *Server) putProgress(r *http.Request, body []byte) (any, error) {
	var progress smsapi.Progress
	if err := smsapi.Decode(body, &progress); err != nil {
		return nil, err
	}
	now := s.now()
	return nil, s.changeTask(r, func(tx *store.Tx, t *store.Task) error {
		apply(t, progress, now.UnixMilli())
		if !working(t.State) || !tooFast(t, progress.MigrateSpeed, agentTime(progress.AgentTime, now)) {
			return nil
		}
		orders, err := act(t, smsapi.TaskAction{Operation: smsapi.OpOverSpeed}, now.UnixMilli())
		if err != nil {
			return err
		}
		return queue(tx, orders)
	})
}

// deleteTask serves DELETE /v3/tasks/{task_id}.
func (s *Server) deleteTask(r *http.Request, _ []byte) (any, error) {
	return nil, s.forgetTasks(r, r.PathValue("task_id"))
}

// deleteTasks serves POST /v3/tasks/delete. All are deleted or, if one does not exist, none.
func (s *Server) deleteTasks(r *http.Request, body []byte) (any, error) {
	var request smsapi.IDs
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	slices.Sort(request.IDs) // changes that meet lock in one order
	return nil, s.forgetTasks(r, slices.Compact(request.IDs)...)
}

func (s *Server) forgetTasks(r *http.Request, ids ...string) error {
	now := s.now()
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		for _, id := range ids {
			task, err := tx.Task(id)
			if err != nil {
				return notFound(err, id)
			}
			if err := forgetTask(tx, task, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.log.Info("tasks deleted", "tasks", ids)
	}
	return err
}

// forgetTask deletes a task once its agent has, or at once if there is none that could: it never heard of the task, or is not there
// and learns of it when it asks for the task.
func forgetTask(tx *store.Tx, task *store.Task, now time.Time) error {
	sources, err := tx.SourcesOf(task)
	if err != nil {
		return err
	}
	source := sources[task.Request.SourceServer.ID]
	if source == nil || !connected(task, source, now) || task.State == smsapi.StateReady && task.Reported == nil {
		return removeTask(tx, task, now.UnixMilli())
	}
	if err := tx.DropCommands(task.ID); err != nil {
		return err
	}
	move(task, smsapi.StateDeleting, now.UnixMilli())
	if err := tx.SaveTask(task); err != nil {
		return err
	}
	if err := tx.QueueCommand(command(task, smsapi.CommandDelete, now.UnixMilli())); err != nil {
		return err
	}
	return followTask(tx, task, now.UnixMilli())
}

// removeTask forgets a task, and what was made for it alone.
func removeTask(tx *store.Tx, task *store.Task, now int64) error {
	if err := errors.Join(tx.DeleteTask(task.ID), tx.DropTemplates(task)); err != nil {
		return err
	}
	return freeSource(tx, task.Request.SourceServer.ID, now)
}

// notFound turns store.ErrNotFound into what the API says.
func notFound(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "there is no task %q", id)
	}
	return err
}
