package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/spf13/cobra"
)

// envStore names the store, because an address with a password is not for a command line.
const envStore = "FERRY_STORE"

// storeFlags are what the subcommands of `ferry controller` share: which store, and where its keys lie.
type storeFlags struct{ store, keyFile string }

func (f *storeFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.store, "store", "", "where everything is kept, sqlite:FILE or postgres://HOST/DATABASE; "+envStore+" too\n"+
		"(default: controller.db in the state directory)")
	cmd.PersistentFlags().StringVar(&f.keyFile, "key-file", "", "the admin's key; sealing.key and ca.pem lie beside it\n"+
		"(default: admin-key.json beside an SQLite store, else in the state directory)")
}

// resolve fills in what was not given.
func (f *storeFlags) resolve() error {
	f.store = cmp.Or(f.store, os.Getenv(envStore))
	if f.store == "" || f.keyFile == "" && !strings.HasPrefix(f.store, "sqlite:") {
		dir, err := makeStateDir("")
		if err != nil {
			return err
		}
		f.keyFile = cmp.Or(f.keyFile, filepath.Join(dir, "admin-key.json"))
		f.store = cmp.Or(f.store, "sqlite:"+filepath.Join(dir, databaseFile))
	}
	if f.keyFile == "" {
		f.keyFile = filepath.Join(filepath.Dir(strings.TrimPrefix(f.store, "sqlite:")), "admin-key.json")
	}
	return nil
}

// controllerCommand serves the control plane until it is stopped.
func controllerCommand() *cobra.Command {
	var stores storeFlags
	var config controller.Config
	var asJSON, debug bool
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Serve the control plane",
		Long: "Serve the control plane until stopped. Agents and clients sign their requests with a key, or send a token. The key of the\n" +
			"admin lies in the key file, which is made at the first start; `ferry controller user` makes others. Away from loopback it\n" +
			"serves TLS only; clients find the certificate to trust in ca.pem beside the key file.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := stores.resolve(); err != nil {
				return err
			}
			level := slog.LevelInfo
			if debug {
				level = slog.LevelDebug
			}
			config.Store, config.KeyFile = stores.store, stores.keyFile
			config.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return serveController(cmd, config, asJSON)
		},
	}
	stores.add(cmd)
	cmd.Flags().StringVar(&config.Listen, "listen", "127.0.0.1:8899", "address to serve on")
	cmd.Flags().BoolVar(&config.TLS, "tls", false, "serve TLS on loopback too")
	cmd.Flags().StringVar(&config.Cert, "tls-cert", "", "PEM file of a certificate to serve, read again when it changes (default: one of an own authority)")
	cmd.Flags().StringVar(&config.CertKey, "tls-key", "", "PEM file of its key")
	cmd.Flags().StringSliceVar(&config.Names, "name", nil, "name or address that clients call this host by; repeatable")
	cmd.Flags().Float64Var(&config.Rate, "rate", 0, "requests a second of one client, -1 = no limit (default 500)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per line")
	cmd.Flags().BoolVar(&debug, "debug", false, "log every request")
	cmd.AddCommand(controllerBackupCommand(&stores), controllerRestoreCommand(&stores), controllerUserCommand(&stores))
	return cmd
}

// serveController runs a control plane until the command is stopped.
func serveController(cmd *cobra.Command, config controller.Config, asJSON bool) error {
	server, err := startController(cmd.Context(), config)
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(listeningEvent{"listening", server.URL(), server.KeyFile(), server.CAFile()})
	} else {
		text := fmt.Sprintf("listening on %s, admin key in %s", server.URL(), server.KeyFile())
		if server.CAFile() != "" {
			text += ", certificate to trust in " + server.CAFile()
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
	}
	if err == nil {
		<-cmd.Context().Done()
	}
	if closed := server.Close(); err == nil {
		err = closed
	}
	return err
}

// listeningEvent tells scripts where the control plane is.
type listeningEvent struct {
	Event        string `json:"event"`
	URL          string `json:"url"`
	AdminKeyFile string `json:"admin_key_file"`
	CAFile       string `json:"ca_file,omitempty"` // of its own authority
}

// startController starts a control plane and records it beside its key file, where `ferry task` looks for it.
func startController(ctx context.Context, c controller.Config) (*controller.Server, error) {
	server, err := controller.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	keyFile, err := filepath.Abs(server.KeyFile())
	if err == nil {
		record := controllerRecord{URL: server.URL(), AdminKeyFile: keyFile}
		if server.CAFile() != "" {
			record.CAFile = filepath.Join(filepath.Dir(keyFile), filepath.Base(server.CAFile()))
		}
		err = record.write(filepath.Dir(keyFile))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record the controller: %w", err), server.Close())
	}
	return server, nil
}
