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
	disks                 diskFlags
}

// targetCommand receives migrations until it is stopped.
func targetCommand() *cobra.Command {
	f := &targetFlags{}
	cmd := &cobra.Command{
		Use:   "target --into dir:PATH|image:PATH|device:PATH|disks",
		Short: "Receive migrations",
		Long: "Receive migrations into a directory, an image file, a disk, or disks that are laid out as the source's until stopped. It prints its address and a pairing code: give both to ferry migrate on\n" +
			"the source. The code enrols one source; both sides then know each other and need no code again.",
		Example: "  ferry target --into dir:/srv/data\n  ferry target --into dir:/srv/data --listen 192.0.2.7:8900 --once\n  ferry target --into device:/dev/vdb\n" +
			"  ferry target --into disks --plan plan.json --disk /dev/vda --dry-run",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.into, "into", "", "where to: dir:PATH, image:PATH, device:PATH or disks")
	fl.StringVar(&f.listen, "listen", ":"+defaultPort, "address to listen on")
	fl.StringVar(&f.state, "state", "", "state directory (default /var/lib/ferry, or the user's)")
	fl.BoolVar(&f.once, "once", false, "end when one migration is done")
	fl.BoolVar(&f.overwrite, "overwrite", false, "replace what others wrote there")
	fl.BoolVar(&f.json, "json", false, "print one JSON object per line")
	f.disks.add(cmd)
	return cmd
}

func (f *targetFlags) run(cmd *cobra.Command) error {
	if f.into == intoDisks && f.disks.dryRun {
		return f.disks.script(cmd, f.json)
	}
	kind, path, _ := strings.Cut(f.into, ":")
	into, err := parsePlace(kind, path)
	if err != nil && f.into != intoDisks {
		return usagef("say where to: --into dir:PATH, image:PATH, device:PATH or disks (%v)", err)
	}
	if st, err := os.Stat(into.dir); into.dir != "" && err == nil && !st.IsDir() {
		return fault.Operator(target.CodeRoot, "give a directory, or a path where one can be made", fmt.Errorf("%s is not a directory", into.dir))
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
	ctx, done := context.WithCancelCause(cmd.Context())
	defer done(nil)
	receiver, err := f.receiver(cmd, into, state, done)
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
	err = receiver.Serve(ctx, listener)
	if err == nil && !errors.Is(context.Cause(ctx), errOnce) && cmd.Context().Err() != nil {
		return nil // stopped: what was acknowledged is durable
	}
	return err
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

// receiver is what receives into the place that was named.
func (f *targetFlags) receiver(cmd *cobra.Command, into endpoint, state string, done context.CancelCauseFunc) (acceptor, error) {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	var complete func(string)
	if f.once {
		complete = func(string) { done(errOnce) }
	}
	if f.into == intoDisks {
		return f.disks.receiver(cmd, f, state, log, complete)
	}
	return into.receiver(state, f.overwrite, log, complete), nil
}

// errOnce ends a target that was to receive one migration.
var errOnce = errors.New("the migration is complete")

// software names this program to the other side.
func software() string { return versionLine() }
