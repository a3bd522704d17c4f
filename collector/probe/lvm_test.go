package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// lvmReport is the part of `lvm fullreport` that is compared; every value in it is text.
type lvmReport struct {
	Report []struct {
		VG, PV, LV, Seg []map[string]string
	}
}

// lvmLab makes physical volumes on loop devices without the device-mapper driver.
type lvmLab struct {
	t       *testing.T
	devices []string
	config  string
}

func newLVMLab(t *testing.T, n int) *lvmLab {
	tool(t, "lvm")
	l := &lvmLab{t: t}
	filter := ""
	for i := 0; i < n; i++ {
		dev := loop(t, blank(t, 64<<20), 512)
		l.devices = append(l.devices, dev)
		filter += fmt.Sprintf("%q,", "a|^"+dev+"$|")
	}
	dir := t.TempDir()
	l.config = fmt.Sprintf(`devices{use_devicesfile=0 filter=[%s"r|.*|"]} global{event_activation=0 locking_dir=%q} activation{monitoring=0} backup{backup=0 archive=0}`, filter, dir)
	l.run(append([]string{"pvcreate", "-q"}, l.devices...)...)
	return l
}

func (l *lvmLab) run(args ...string) string {
	l.t.Helper()
	cmd := exec.Command("lvm", append(args, "--driverloaded", "n", "--config", l.config)...)
	cmd.Env = append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(l.t, err, "lvm %v: %s", args, errs.String())
	return string(out)
}

func (l *lvmLab) report() lvmReport {
	var r lvmReport
	require.NoError(l.t, json.Unmarshal([]byte(l.run("fullreport", "--reportformat", "json", "--units", "b", "--nosuffix", "-a")), &r))
	return r
}

// read assembles the group from the devices, as the collector does.
func (l *lvmLab) read() inventory.VolumeGroup {
	l.t.Helper()
	names := map[string]string{}
	var text []byte
	for _, dev := range l.devices {
		f, size := open(l.t, dev)
		pv, data, err := LVMMetadata(f, size)
		require.NoError(l.t, err)
		names[pv.UUID] = dev
		if data != nil {
			text = data
		}
	}
	vg, err := VolumeGroup(text, func(uuid string) string { return names[uuid] })
	require.NoError(l.t, err)
	return vg
}

func (l *lvmLab) compare() inventory.VolumeGroup {
	t := l.t
	t.Helper()
	want, got := l.report().Report[0], l.read()
	vg := want.VG[0]
	require.Equal(t, []string{vg["vg_name"], vg["vg_uuid"], vg["vg_size"], vg["vg_free"], vg["vg_extent_size"], vg["vg_seqno"]},
		[]string{got.Name, got.UUID, fmt.Sprint(got.Size), fmt.Sprint(got.Free), fmt.Sprint(got.ExtentSize), fmt.Sprint(got.Seqno)})
	require.Empty(t, got.Problems)
	require.Len(t, got.Physical, len(want.PV))
	for _, pv := range got.Physical {
		for _, w := range want.PV {
			if w["pv_uuid"] == pv.UUID {
				require.Equal(t, []string{w["pv_name"], w["dev_size"], w["pe_start"], w["pv_pe_count"], w["pv_free"]},
					[]string{pv.Device, fmt.Sprint(pv.Size), fmt.Sprint(pv.Start), fmt.Sprint(pv.Extents), fmt.Sprint(pv.Free)})
			}
		}
	}
	byUUID := map[string]map[string]string{}
	for _, w := range want.LV {
		byUUID[w["lv_uuid"]] = w
	}
	require.Len(t, got.Logical, len(byUUID))
	for _, lv := range got.Logical {
		w := byUUID[lv.UUID]
		require.NotNil(t, w, lv.Name)
		require.Equal(t, strings.Trim(w["lv_name"], "[]"), lv.Name)
		require.Equal(t, w["lv_dm_path"], lv.Device, lv.Name)
		require.Equal(t, w["lv_size"], fmt.Sprint(lv.Size), lv.Name)
		require.Equal(t, strings.Trim(w["origin"], "[]"), lv.Origin, lv.Name)
		require.Equal(t, strings.Trim(w["pool_lv"], "[]"), lv.Pool, lv.Name)
		require.Equal(t, strings.HasPrefix(w["lv_name"], "["), lv.Internal, lv.Name)
	}
	return got
}

func TestLVMLikeLVM(t *testing.T) {
	l := newLVMLab(t, 3)
	l.run(append([]string{"vgcreate", "my-vg"}, l.devices...)...)
	for _, args := range []string{"-n lin-ear -L 12M", "-n str -i2 -I64k -L 16M", "-n big -L 70M", "-n late -L 4M"} {
		l.run(append(append([]string{"lvcreate", "-an", "-Zn", "-Wn"}, strings.Fields(args)...), "my-vg")...)
	}
	l.run("lvextend", "-L", "20M", "my-vg/lin-ear")
	vg := l.compare()
	kinds := map[string]string{}
	for _, lv := range vg.Logical {
		kinds[lv.Name] = lv.Kind
	}
	require.Equal(t, map[string]string{"lin-ear": "linear", "str": "striped", "big": "linear", "late": "linear"}, kinds)
	for _, lv := range vg.Logical {
		var devices []string
		for _, s := range lv.Segments {
			for _, a := range s.Areas {
				devices = append(devices, fmt.Sprintf("%s(%d)", a.Physical, (a.Offset-1<<20)/vg.ExtentSize))
			}
		}
		var want []string
		for _, line := range strings.Split(strings.TrimSpace(l.run("lvs", "--noheadings", "--segments", "-o", "devices", "my-vg/"+lv.Name)), "\n") {
			want = append(want, strings.Split(strings.TrimSpace(line), ",")...)
		}
		require.Equal(t, want, devices, lv.Name)
	}
}

// TestLVMKinds puts a group with every layout on disk by restoring a backup file, since most of them cannot be created
// without the device-mapper driver.
func TestLVMKinds(t *testing.T) {
	l := newLVMLab(t, 2)
	backup, err := os.ReadFile(filepath.Join("testdata", "lvm-kinds.vg"))
	require.NoError(t, err)
	text := string(backup)
	for i, dev := range l.devices {
		id := strings.TrimSpace(l.run("pvs", "--noheadings", "-o", "pv_uuid", dev))
		text = strings.ReplaceAll(text, fmt.Sprintf("PV%d", i), id)
	}
	file := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	l.run("vgcfgrestore", "--force", "-y", "-f", file, "kinds")
	vg := l.compare()
	kinds := map[string]string{}
	for _, lv := range vg.Logical {
		if !lv.Internal {
			kinds[lv.Name] = lv.Kind
		}
	}
	require.Equal(t, map[string]string{
		"pool": "thin-pool", "thin": "thin", "thinsnap": "thin", "mirror": "raid1", "root": "linear", "snap": "snapshot", "fast": "cache",
	}, kinds)
}

func TestLVMDamage(t *testing.T) {
	l := newLVMLab(t, 1)
	l.run("vgcreate", "vg", l.devices[0])
	f, err := os.OpenFile(l.devices[0], os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, data, err := LVMMetadata(f, 64<<20)
	require.NoError(t, err)
	require.Contains(t, string(data), "vg {")

	ring := make([]byte, 1<<20)
	_, err = f.ReadAt(ring, 4096)
	require.NoError(t, err)
	at := int64(strings.Index(string(ring), "extent_size"))
	for at > 0 && at < int64(len(ring)) { // every copy in the ring: one of them is the committed one
		_, err = f.WriteAt([]byte("EXTENT"), 4096+at)
		require.NoError(t, err)
		next := strings.Index(string(ring[at+1:]), "extent_size")
		if next < 0 {
			break
		}
		at += 1 + int64(next)
	}
	pv, data, err := LVMMetadata(f, 64<<20)
	require.ErrorContains(t, err, "checksum")
	require.Nil(t, data)
	require.NotEmpty(t, pv.UUID, "the label is still good")
}
