package controller

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// nextCommand returns what the agent of a source is told when it asks: the oldest command that it has not answered, else how its
// newest task stands. A command is told at every poll until it is answered.
func (s *Server) nextCommand(r *http.Request, source string) (smsapi.Command, error) {
	var next *store.Command
	var idle smsapi.Command
	err := s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		if next, err = tx.NextCommand(source); errors.Is(err, store.ErrNotFound) {
			idle, err = standing(tx, source)
		}
		return err
	})
	if err != nil || next == nil {
		return idle, err
	}
	if s.overdue(next) {
		if err := s.answerCommand(r, source, unanswered(next)); err != nil {
			return smsapi.Command{}, err
		}
		return s.nextCommand(r, source)
	}
	if next.Delivered == nil {
		err = s.store.Change(r.Context(), func(tx *store.Tx) error { return tx.DeliverCommand(next, s.now().UnixMilli()) })
	}
	return smsapi.Command{Name: next.Name, Param: &next.Param}, err
}

// ownCommands are those that the documents do not have. An agent that does not know them may never answer, and must not miss what
// comes after them.
var ownCommands = []smsapi.CommandName{smsapi.CommandNetworkCheck, smsapi.CommandRollback}

// ownPatience is how long the answer to one of ownCommands is waited for.
const ownPatience = 15 * time.Minute

// overdue reports whether a command of Ferry's own was told long ago and not answered.
func (s *Server) overdue(c *store.Command) bool {
	return c.Delivered != nil && slices.Contains(ownCommands, c.Name) && s.now().Sub(time.UnixMilli(*c.Delivered)) > ownPatience
}

// unanswered is the answer in place of the agent that gives none.
func unanswered(c *store.Command) smsapi.CommandResult {
	return smsapi.CommandResult{Name: c.Name, Result: smsapi.ResultFail, Detail: []byte(`{"message":"the agent did not answer"}`)}
}

// standing returns the command that only says how the newest task of a source stands: it asks for nothing.
func standing(tx *store.Tx, source string) (smsapi.Command, error) {
	task, err := currentTask(tx, source)
	if err != nil || task == nil {
		return smsapi.Command{}, err
	}
	name := smsapi.CommandName("")
	switch {
	case task.State == smsapi.StateReady:
		name = smsapi.TaskNotStarted
	case task.State == smsapi.StateAbort:
		name = smsapi.TaskHasStopped
	case succeeded(task.State):
		name = smsapi.TaskHasFinished
	default:
		return smsapi.Command{}, nil
	}
	return smsapi.Command{Name: name, Param: &smsapi.CommandParam{Task: task.ID}}, nil
}

// answerCommand takes the answer of a source's agent to the command it was told. The same answer again changes nothing: the first one
// may have been lost on its way. An answer to anything else is SMS.6021.
func (s *Server) answerCommand(r *http.Request, source string, result smsapi.CommandResult) error {
	now := s.now().UnixMilli()
	err := s.store.Change(r.Context(), func(tx *store.Tx) error {
		c, err := tx.NextCommand(source)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err != nil || c.Delivered == nil || c.Name != result.Name {
			return repeatedAnswer(tx, source, result)
		}
		if err := tx.AnswerCommand(c, result, now); err != nil {
			return err
		}
		return answerTask(tx, c, result, now)
	})
	if err == nil {
		s.log.Info("command answered", "source", source, "command", result.Name, "result", result.Result)
	}
	return err
}

// repeatedAnswer returns nil if the source gave this answer last.
func repeatedAnswer(tx *store.Tx, source string, result smsapi.CommandResult) error {
	last, err := tx.LastAnswered(source)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil || last.Name != result.Name {
		return smsapi.NewError(http.StatusBadRequest, smsapi.CodeCommand, "the command %q is not the one that the source was told", result.Name)
	}
	return nil
}

// answerTask changes the task that a command was about.
func answerTask(tx *store.Tx, c *store.Command, result smsapi.CommandResult, now int64) error {
	task, err := tx.Task(c.TaskID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if answered(task, result, now) {
		return removeTask(tx, task, now)
	}
	if err := tx.SaveTask(task); err != nil {
		return err
	}
	return followTask(tx, task, now)
}
