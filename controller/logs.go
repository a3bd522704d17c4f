package controller

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// collectLog serves POST /v3/tasks/{task_id}/log: the agent is told to pack its logs and to put them into the bucket.
func (s *Server) collectLog(r *http.Request, body []byte) (any, error) {
	var ask smsapi.CollectLog
	if err := smsapi.Decode(body, &ask); err != nil {
		return nil, err
	}
	return nil, s.changeTask(r, func(tx *store.Tx, t *store.Task) error {
		if err := refuseAction(t, smsapi.TaskAction{Operation: smsapi.OpCollectLog}); err != nil {
			return err
		}
		collect(t, ask)
		return tx.QueueCommand(command(t, smsapi.CommandUploadLog, s.now().UnixMilli()))
	}, "operation", smsapi.OpCollectLog)
}

// collect keeps that logs are asked for.
func collect(t *store.Task, ask smsapi.CollectLog) {
	t.Detail.Log = store.Log{Status: smsapi.LogUploading, Bucket: ask.Bucket, Expire: ask.Expire}
}

// logStatus returns how far the collection of a task's logs is.
func logStatus(t *store.Task) smsapi.LogStatus {
	if t.Detail.Log.Status == "" {
		return smsapi.LogInit
	}
	return t.Detail.Log.Status
}

// shownBucket returns a bucket as users see it: of a pre-signed URL without what is secret, all after the question mark.
func shownBucket(bucket string) string {
	shown, _, _ := strings.Cut(bucket, "?")
	return shown
}

// shareURL returns where users fetch the logs of a task, relative to the control plane; empty if they are elsewhere, or nowhere yet.
func shareURL(t *store.Task) string {
	if log := t.Detail.Log; log.Bucket != smsapi.OwnBucket || log.Status != smsapi.LogUploaded {
		return ""
	}
	return logPath(t.ID)
}

func logPath(task string) string { return "/v3/tasks/" + url.PathEscape(task) + "/log/content" }

// putLogs serves PUT /v3/tasks/{task_id}/log/content: the agent sends its logs, in place of those before.
func (s *Server) putLogs(r *http.Request, body []byte) (any, error) {
	return nil, s.changeTask(r, func(tx *store.Tx, t *store.Task) error {
		if t.Detail.Log.Status != smsapi.LogUploading || t.Detail.Log.Bucket != smsapi.OwnBucket {
			return smsapi.NewError(http.StatusBadRequest, smsapi.CodeState, "nobody asked for the logs of this task")
		}
		return tx.PutLogs(t, body, s.now().UnixMilli())
	}, "logs", len(body))
}

// showLogs serves GET /v3/tasks/{task_id}/log/content: the logs that the agent sent here last.
func (s *Server) showLogs(r *http.Request, _ []byte) (any, error) {
	id := r.PathValue("task_id")
	var data []byte
	err := s.store.View(r.Context(), func(tx *store.Tx) error {
		t, err := tx.Task(id)
		if err != nil {
			return notFound(err, id)
		}
		data, _, err = tx.Logs(t)
		if errors.Is(err, store.ErrNotFound) {
			return smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "the agent of task %q sent no logs here", id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return download("ferry-logs-"+id+".tar.gz", "application/gzip", data), nil
}
