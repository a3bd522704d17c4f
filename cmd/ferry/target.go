package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// targetFlags are what a person says about a receiving side.
type targetFlags struct {
	into, listen, state   string
	once, overwrite, json bool
}

// targetCommand receives migrations until it is stopped.
func targetCommand() *cobra.Command {
	f := &targetFlags{}
	cmd := &cobra.Command{
		Use:   "target --into dir:PATH",
		Short: "Receive migrations",
		Long: "Receive migrations into a directory until stopped. It prints its address and a pairing code: give both to ferry migrate on\n" +
			"the source. The code enrols one source; both sides then know each other and need no code again.",
		Example: "  ferry target --into dir:/srv/data\n  ferry target --into dir:/srv/data --listen 192.0.2.7:8900 --once",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.into, "into", "", "where to: dir:PATH")
	fl.StringVar(&f.listen, "listen", ":"+defaultPort, "address to listen on")
	fl.StringVar(&f.state, "state", "", "state directory (default /var/lib/ferry, or the user's)")
	fl.BoolVar(&f.once, "once", false, "end when one migration is done")
	fl.BoolVar(&f.overwrite, "overwrite", false, "replace what others wrote in the directory")
	fl.BoolVar(&f.json, "json", false, "print one JSON object per line")
	return cmd
}

func (f *targetFlags) run(cmd *cobra.Command) error {
	kind, path, _ := strings.Cut(f.into, ":")
	if kind != "dir" || path == "" {
		return usagef("say where to: --into dir:PATH (images, devices and whole disks are not built so far)")
	}
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		return fault.Operator(target.CodeRoot, "give a directory, or a path where one can be made", fmt.Errorf("%s is not a directory", path))
	}
	state, err := makeStateDir(f.state)
	if err != nil {
		return err
	}
	id, err := wire.LoadIdentity(state)
	if err != nil {
		return err
	}
	peers, err := wire.OpenKnownPeers(filepath.Join(state, "sources.json"))
	if err != nil {
		return err
	}
	code := wire.NewPairingCode(id.Fingerprint())
	listener, err := wire.Listen(f.listen, id, peers, code, wire.Options{})
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := f.announce(cmd.OutOrStdout(), listener.Addr().String(), code.Text()); err != nil {
		return err
	}
	debug.SetMemoryLimit(40 << 20) // soft: what a busy session needs lies below
	return f.serve(cmd, listener, path, state)
}

// announce prints where the target listens, and the code that enrols a source.
func (f *targetFlags) announce(out io.Writer, addr, code string) error {
	if f.json {
		return json.NewEncoder(out).Encode(struct {
			Event string `json:"event"`
			Addr  string `json:"addr"`
			Pair  string `json:"pair"`
		}{"listening", addr, code})
	}
	_, err := fmt.Fprintf(out, "listening on %s\npairing code: %s\n", addr, code)
	return err
}

func (f *targetFlags) serve(cmd *cobra.Command, l *wire.Listener, path, state string) error {
	ctx, done := context.WithCancelCause(cmd.Context())
	defer done(nil)
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	r := &target.Receiver{Root: path, State: filepath.Join(state, "target"), Software: software(), Overwrite: f.overwrite, Log: log}
	if f.once {
		r.Done = func(string) { done(errOnce) }
	}
	err := r.Serve(ctx, l)
	if err == nil && !errors.Is(context.Cause(ctx), errOnce) && cmd.Context().Err() != nil {
		return nil // stopped: what was acknowledged is durable
	}
	return err
}

// errOnce ends a target that was to receive one migration.
var errOnce = errors.New("the migration is complete")

// software names this program to the other side.
func software() string { return versionLine() }
