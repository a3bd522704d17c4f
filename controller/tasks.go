package controller

import (
	"errors"
	"net/http"

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
		Method: "GET", Path: "/v3/tasks", Name: "ListTasks", Who: Users,
		Query:    []string{"state", "name", "id", "source_server_id", "limit", "offset", "enterprise_project_id"},
		Response: smsapi.TaskList{}, serve: (*Server).listTasks,
	},
	{
		Method: "GET", Path: "/v3/tasks/{task_id}", Name: "ShowTask", Who: Users | Agents,
		Response: smsapi.Task{}, serve: (*Server).showTask,
	},
	{
		Method: "PUT", Path: "/v3/tasks/{task_id}/progress", Name: "UpdateTaskSpeed", Who: Agents, MaxBody: smallBody,
		Request: smsapi.Progress{}, serve: (*Server).putProgress,
	},
}

// createTask serves POST /v3/tasks. A source that nobody registered is fine: the task waits for it.
func (s *Server) createTask(r *http.Request, body []byte) (any, error) {
	var request smsapi.CreateTaskRequest
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	if err := smsapi.CheckTaskName(request.Name); err != nil {
		return nil, err
	}
	task := &store.Task{
		ID: uuid.NewString(), State: smsapi.StateReady, Request: request, TargetID: uuid.NewString(),
		Created: s.now().UnixMilli(), Subtasks: planned(request),
	}
	if err := s.store.Change(r.Context(), func(tx *store.Tx) error { return tx.CreateTask(task) }); err != nil {
		return nil, err
	}
	s.log.Info("task created", "task", task.ID, "name", request.Name, "source", request.SourceServer.ID)
	return smsapi.CreateTaskResponse{ID: task.ID}, nil
}

// listTasks serves GET /v3/tasks.
func (s *Server) listTasks(r *http.Request, _ []byte) (any, error) {
	query, err := smsapi.ParseTaskQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	var page []*store.Task
	list := smsapi.TaskList{Tasks: []smsapi.ListedTask{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		page, list.Count, err = tx.Tasks(query)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, task := range page {
		list.Tasks = append(list.Tasks, listedTask(task, s.now()))
	}
	return list, nil
}

// showTask serves GET /v3/tasks/{task_id}.
func (s *Server) showTask(r *http.Request, _ []byte) (any, error) {
	var task *store.Task
	err := s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		task, err = tx.Task(r.PathValue("task_id"))
		return err
	})
	if err != nil {
		return nil, notFound(err, r.PathValue("task_id"))
	}
	return showTask(task, s.now()), nil
}

// putProgress serves PUT /v3/tasks/{task_id}/progress. The same report twice leaves the same task.
func (s *Server) putProgress(r *http.Request, body []byte) (any, error) {
	var progress smsapi.Progress
	if err := smsapi.Decode(body, &progress); err != nil {
		return nil, err
	}
	id := r.PathValue("task_id")
	var before, after smsapi.TaskState
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		t, err := tx.Task(id)
		if err != nil {
			return err
		}
		before = t.State
		apply(t, progress, s.now().UnixMilli())
		after = t.State
		return tx.SaveTask(t)
	})
	if err == nil && before != after {
		s.log.Info("task changed state", "task", id, "subtask", progress.Subtask, "from", before, "to", after)
	}
	return nil, notFound(err, id)
}

// notFound turns store.ErrNotFound into what the API says.
func notFound(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "there is no task %q", id)
	}
	return err
}
