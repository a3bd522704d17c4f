package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// secretOperations hand out private keys and passwords: not for those who may only look.
var secretOperations = []string{"ShowCertKey", "ShowPassphrase", "ShowTargetPassword"}

// allow refuses a caller that may not call a route. What a path names must be the agent's own, or nothing that there is: the
// operation itself answers that.
func (s *Server) allow(caller iam.Caller, route Route, r *http.Request) error {
	switch {
	case caller.Role == iam.Admin:
		return nil
	case caller.Role == iam.Reader && route.Who&Users != 0 && route.Method == http.MethodGet && !slices.Contains(secretOperations, route.Name):
		return nil
	case caller.IsAgent() && route.Who&Agents != 0, caller.Role == iam.Machine && route.Who&Machines != 0:
		return s.ownsPath(caller, route, r)
	}
	return forbidden(caller, route.Name)
}

// ownsPath refuses an agent whose path names the source or the task of another.
func (s *Server) ownsPath(caller iam.Caller, route Route, r *http.Request) error {
	var own bool
	err := s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		own, err = ownsPath(tx, caller, r)
		return err
	})
	if err == nil && !own {
		err = forbidden(caller, route.Name)
	}
	return err
}

func ownsPath(tx *store.Tx, caller iam.Caller, r *http.Request) (bool, error) {
	source := r.PathValue("source_id") + r.PathValue("server_id")
	if task := r.PathValue("task_id"); task != "" {
		var err error
		source, err = tx.SourceOfTask(task)
		if errors.Is(err, store.ErrNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	if source == "" {
		return true, nil
	}
	own, err := tx.OwnsSource(source, caller.ID)
	if err != nil || own {
		return own, err
	}
	if _, err = tx.Source(source); errors.Is(err, store.ErrNotFound) {
		return true, nil // deleted, say: its agent has to learn that
	}
	return false, err
}

// claim makes the agent that registers a new source its owner, in the transaction that stores it, and refuses one that is there and
// not its own. A source that somebody else than an agent registers has no owner: no agent may take it over by its id.
func claim(ctx context.Context, tx *store.Tx, sourceID string) error {
	caller := callerOf(ctx)
	if !caller.IsAgent() {
		return nil
	}
	own, err := tx.OwnsSource(sourceID, caller.ID)
	if err != nil || own {
		return err
	}
	if _, err := tx.Source(sourceID); !errors.Is(err, store.ErrNotFound) {
		return errors.Join(err, forbidden(caller, "RegisterServer"))
	}
	if own, err = tx.OwnSource(sourceID, caller.ID); err == nil && !own {
		err = forbidden(caller, "RegisterServer")
	}
	return err
}

// forbidden says no in the long form of the service.
func forbidden(caller iam.Caller, operation string) error {
	e := smsapi.NewError(http.StatusForbidden, smsapi.CodeForbidden, "user %s (%s) may not call %s on this", caller.Name, caller.Role, operation)
	e.Details = []smsapi.ErrorDetail{{Code: e.Code, Message: e.Message}}
	return e
}

type callerKey struct{}

func withCaller(ctx context.Context, caller iam.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// callerOf returns who calls; nobody for a route that anyone may call.
func callerOf(ctx context.Context) iam.Caller {
	caller, _ := ctx.Value(callerKey{}).(iam.Caller)
	return caller
}

// loadKey reads the admin key, or makes one and writes it with mode 0600.
func loadKey(path string) (smsapi.Key, error) {
	key, err := ReadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = iam.NewKey()
	return key, WriteKey(path, key)
}

// WriteKey writes a key file, durably and with mode 0600.
func WriteKey(path string, key smsapi.Key) error {
	text, err := json.Marshal(key)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	if err := durable.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	return nil
}

// ReadKey reads a key file: JSON with access_key, secret_key, domain_id and project_id.
func ReadKey(path string) (key smsapi.Key, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key, fmt.Errorf("key file: %w", err)
	}
	if err := json.Unmarshal(text, &key); err != nil || key.AccessKey == "" || key.SecretKey == "" {
		return smsapi.Key{}, fault.Operator("FERRY-KEY-FILE", "restore it, or remove it to have the controller make a new one",
			fmt.Errorf("key file %s is damaged", path))
	}
	return key, nil
}
