package main

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/packaging"
)

// Set by the linker in releases: -ldflags "-X main.version=… -X main.commit=… -X main.date=…".
// A plain `go build` leaves them empty; the build information of the toolchain fills in then.
var version, commit, date string

// releaseKey is the Ed25519 public key that releases are signed with, 32 bytes in base64. The linker sets it where a release is signed.
var releaseKey string

// versionCommand prints version, commit and build date, or checks a file of a release.
func versionCommand() *cobra.Command {
	file, key := "", ""
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and build date; check a release",
		Long:    "Print version, commit and build date. With --verify, check a file of a release: SHA256SUMS and SHA256SUMS.sig have to lie beside it.",
		Example: "  ferry version\n  ferry version --verify ./ferry_1.0.0_amd64.deb",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
				return err
			}
			public, err := verifyKey(key)
			if err != nil {
				return fault.Operator("FERRY-RELEASE-KEY", "name the public key of the release, PEM, with --key", err)
			}
			if err := packaging.Verify(file, public); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is as it was released\n", file)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "verify", "", "check this file of a release")
	cmd.Flags().StringVar(&key, "key", "", "public key of the release, PEM (default: the one in this program)")
	return cmd
}

// verifyKey returns the key in a file, or the one in this program.
func verifyKey(path string) (ed25519.PublicKey, error) {
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		return packaging.ParseKey(text)
	}
	key, err := base64.StdEncoding.DecodeString(releaseKey)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("this program was built without the key of a release")
	}
	return key, nil
}

func versionLine() string {
	module, set := "", map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		module = info.Main.Version
		for _, s := range info.Settings {
			set[s.Key] = s.Value
		}
	}
	return fmt.Sprintf("ferry %s commit %s built %s %s %s/%s",
		cmp.Or(version, module, "unknown"), cmp.Or(commit, set["vcs.revision"], "unknown"), cmp.Or(date, set["vcs.time"], "unknown"),
		runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
