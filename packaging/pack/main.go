// Pack makes the packages of a release from programs that are built already, and the list of what is in the release:
//
//	pack linux    deb, rpm, apk, Arch and tar.gz of one architecture, as packaging/nfpm.yaml says
//	pack windows  zip
//	pack msi      takes what differs from run to run out of an MSI
//	pack sums     SHA256SUMS of a directory, and its signature if there is a key
//
// The same input makes the same bytes: every time in them is SOURCE_DATE_EPOCH, and files are in order. packaging/build calls it.
//
// It is a module of its own, so that nothing of it enters the agent. `go mod tidy` cannot run here: it wants the parts for MSIX, which
// nfpm's command and tests need and its packages do not, and which the module proxy does not have.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	epoch := time.Unix(seconds, 0).UTC()
	switch {
	case len(args) == 3 && args[0] == "linux":
		return linux(args[1], args[2], epoch)
	case len(args) == 3 && args[0] == "windows":
		return windows(args[1], args[2], epoch)
	case len(args) == 3 && args[0] == "msi":
		return settleMSI(args[1], args[2], epoch)
	case len(args) == 2 && args[0] == "sums":
		return sums(args[1], os.Getenv("FERRY_SIGN_KEY"))
	}
	return fmt.Errorf("usage: pack linux ARCH OUT | windows ARCH OUT | msi FILE UUID | sums DIR")
}
