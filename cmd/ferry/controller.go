package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/spf13/cobra"
)

// controllerCommand serves the control plane until it is stopped.
func controllerCommand() *cobra.Command {
	var listen, store string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Serve the control plane",
		Long: "Serve the control plane until stopped. Agents and clients sign their requests with the key in the admin key file,\n" +
			"which lies beside the database.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if store == "" {
				dir, err := makeStateDir("")
				if err != nil {
					return err
				}
				store = "sqlite:" + filepath.Join(dir, databaseFile)
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			server, err := startController(cmd.Context(), controller.Config{Listen: listen, Store: store, Log: log})
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(listeningEvent{"listening", server.URL(), server.KeyFile()})
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "listening on %s, admin key in %s\n", server.URL(), server.KeyFile())
			}
			if err == nil {
				<-cmd.Context().Done()
			}
			if closed := server.Close(); err == nil {
				err = closed
			}
			return err
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8899", "address to serve on")
	cmd.Flags().StringVar(&store, "store", "", "where to keep tasks, sqlite:FILE (default: controller.db in the state directory)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per line")
	return cmd
}

// listeningEvent tells scripts where the control plane is.
type listeningEvent struct {
	Event        string `json:"event"`
	URL          string `json:"url"`
	AdminKeyFile string `json:"admin_key_file"`
}

// startController starts a control plane and records it beside its database, where `ferry task` looks for it.
func startController(ctx context.Context, c controller.Config) (*controller.Server, error) {
	server, err := controller.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	keyFile, err := filepath.Abs(server.KeyFile())
	if err == nil {
		dir := filepath.Dir(strings.TrimPrefix(c.Store, "sqlite:"))
		err = controllerRecord{URL: server.URL(), AdminKeyFile: keyFile}.write(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record the controller: %w", err), server.Close())
	}
	return server, nil
}
