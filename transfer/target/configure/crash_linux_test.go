package configure

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// choices are those of a run that changes as much as it can.
var choices = Options{Network: NetworkDHCP, Hostname: "new", Serial: "ttyS0", NewMachineID: true, DisableCloudInit: true, DisableOldAgents: true}

// TestCrash kills a run at every point of one of its first changes and of a later one. Run again, it ends as if it had not been cut off;
// undone, nothing was ever there.
func TestCrash(t *testing.T) {
	if root := os.Getenv("CONFIGURE_CRASH_ROOT"); root != "" { // the process that dies
		facts := laid(t, "")
		facts.BootDisks[0].Device = root + "/../disk"
		if os.Getenv("CONFIGURE_CRASH_UNDO") != "" {
			require.NoError(t, Undo(context.Background(), root, facts))
			return
		}
		_, err := Run(context.Background(), root, facts, choices)
		require.NoError(t, err)
		return
	}
	die := func(root, point, undo string) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCrash$")
		cmd.Env = append(os.Environ(), "CONFIGURE_CRASH_ROOT="+root, "CONFIGURE_CRASH_UNDO="+undo, "FERRY_CRASH_AT="+point)
		out, err := cmd.CombinedOutput()
		require.ErrorContains(t, err, "killed", "%s", out)
	}
	for _, point := range []string{"configure.noted", "configure.kept", "configure.placed"} {
		for _, n := range []int{1, 8} {
			at := fmt.Sprintf("%s:%d", point, n)
			t.Run(at, func(t *testing.T) {
				t.Parallel()
				ctx, root, facts := context.Background(), unpack(t, "debian"), laid(t, "")
				require.NoError(t, os.Rename(facts.BootDisks[0].Device, root+"/../disk"))
				t.Cleanup(func() { os.Remove(root + "/../disk") })
				facts.BootDisks[0].Device = root + "/../disk"
				before := dump(t, root)
				die(root, at, "")
				require.NoError(t, Undo(ctx, root, facts))
				unchanged(t, before, root)
				die(root, at, "")
				_, err := Run(ctx, root, facts, choices)
				require.NoError(t, err)
				again, err := Run(ctx, root, facts, choices)
				require.NoError(t, err)
				require.Empty(t, again.Changes)
				for _, name := range []string{"etc/fstab", "etc/hostname", "boot/grub/grub.cfg"} {
					text, err := os.ReadFile(root + "/" + name)
					require.NoError(t, err)
					want, err := os.ReadFile("testdata/debian-dhcp.golden")
					require.NoError(t, err)
					if name != "etc/hostname" {
						require.Contains(t, string(want), strings.TrimSpace(string(text)))
					}
				}
				die(root, "configure.undone:"+fmt.Sprint(n), "1")
				require.NoError(t, Undo(ctx, root, facts))
				unchanged(t, before, root)
			})
		}
	}
}
