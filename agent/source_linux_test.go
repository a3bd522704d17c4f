package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// documented says what the API's reference says of each field of POST /v3/sources and PUT /v3/sources/{id}/diskinfo, apart from the types
// that send them: the kind of value, then its bounds or its values; "!" is what the reference, or the environment check, wants to be there.
var documented = map[string]map[string]string{
	"source": {
		"id": "text 0 255", "ip": "text 0 255", "ipv6": "text 0 255", "name": "text 1 64 !", "hostname": "text 1 64", "os_type": "one WINDOWS LINUX !",
		"os_version": "text 1 255 !", "linux_block_check": "text 0 255", "firmware": "one BIOS UEFI", "cpu_quantity": "int32", "memory": "int64", "disks": "list disk 50 !",
		"btrfs_list": "list btrfs 65535 !", "networks": "list network 65535 !", "domain_id": "text 0 255", "has_rsync": "bool !", "paravirtualization": "bool !",
		"raw_devices": "text 0 255 !", "boot_loader": "one GRUB", "volume_groups": "list group 65535 !", "agent_version": "text 1 255 !",
		"kernel_version": "text 0 255", "start_type": "one MANUAL AUTO", "io_read_wait": "number", "has_tc": "bool !",
		"platform": "one hw ali aws azure gcp tencent vmware hyperv other default",
	},
	"disks": {"disks": "list disk 50 !", "volumegroups": "list group 50 !", "btrfs_list": "list btrfs 65535 !"},
	"disk": {
		"name": "text 1 255 !", "partition_style": "one MBR GPT  !", "device_use": "one NORMAL OS BOOT VOLUME_GROUP BTRFS !", "size": "int64 !", "used_size": "int64 !",
		"physical_volumes": "list partition 65535 !", "os_disk": "bool !", "relation_name": "text 0 255", "inode_size": "int32",
	},
	"partition": {
		"device_use": "one NORMAL OS BOOT VOLUME_GROUP BTRFS !", "file_system": "text 0 255 !", "index": "int32 !", "mount_point": "text 0 255 !", "name": "text 1 255 !",
		"size": "int64 !", "used_size": "int64 !", "inode_size": "int32", "inode_nums": "int64", "uuid": "text 0 255", "size_per_cluster": "int32",
	},
	"group": {
		"components": "text 0 255 !", "free_size": "int64 !", "logical_volumes": "list volume 255 !", "name": "text 1 255 !", "size": "int64 !",
	},
	"volume": {
		"block_count": "uint32", "block_size": "int64", "file_system": "text 0 255 !", "inode_size": "uint32 !", "inode_nums": "int64",
		"device_use": "one NORMAL OS BOOT VOLUME_GROUP BTRFS", "mount_point": "text 0 256 !", "name": "text 1 1024 !", "size": "int64 !", "used_size": "int64 !", "free_size": "int64 !",
	},
	"btrfs": {
		"name": "text 0 255 !", "label": "text 0 255 !", "uuid": "text 0 255 !", "device": "text 0 255 !", "size": "int64 !", "nodesize": "int64 !", "sectorsize": "int32 !",
		"data_profile": "text 0 255 !", "system_profile": "text 0 255 !", "metadata_profile": "text 0 255 !", "global_reserve1": "text 0 255 !", "g_vol_used_size": "int64 !",
		"default_subvolid": "text 0 255 !", "default_subvol_name": "text 0 255 !", "default_subvol_mountpath": "text 0 255 !", "subvolumn": "list subvolume 65535 !",
	},
	"subvolume": {
		"uuid": "text 0 255 !", "is_snapshot": "text 0 255 !", "subvol_id": "text 0 255 !", "parent_id": "text 0 255 !", "subvol_name": "text 0 255 !", "subvol_mount_path": "text 0 255 !",
	},
	"network": {
		"name": "text 1 255 !", "ip": "text 0 255 !", "ipv6": "text 0 255", "netmask": "text 0 255 !", "gateway": "text 0 255 !", "mtu": "int32 !", "mac": "text 1 255 !", "id": "text 0 255",
	},
}

// obey returns how an encoded body departs from the reference.
func obey(kind, path string, v any) (wrong []string) {
	object, ok := v.(map[string]any)
	if !ok {
		return []string{path + " is no object"}
	}
	rules := documented[kind]
	for name, rule := range rules {
		if _, there := object[name]; !there && strings.HasSuffix(rule, "!") {
			wrong = append(wrong, path+"."+name+" is missing")
		}
	}
	for name, v := range object {
		rule, known := rules[name]
		if !known {
			wrong = append(wrong, path+"."+name+" is not in the reference")
			continue
		}
		wrong = append(wrong, fits(rule, path+"."+name, v)...)
	}
	return wrong
}

func fits(rule, path string, v any) (wrong []string) {
	words := strings.Split(strings.TrimSuffix(rule, " !"), " ")
	var least, most int
	if words[0] == "text" {
		fmt.Sscan(strings.Join(words[1:], " "), &least, &most)
	}
	bad := false
	switch v := v.(type) {
	case string:
		n := utf8.RuneCountInString(v)
		bad = words[0] == "one" && !slices.Contains(words[1:], v) || words[0] == "text" && (n < least || n > most) || words[0] != "one" && words[0] != "text"
	case bool:
		bad = words[0] != "bool"
	case float64:
		limit := map[string]float64{"int32": math.MaxInt32, "uint32": 1 << 32, "int64": math.MaxInt64, "number": math.MaxFloat64}[words[0]]
		bad = v < 0 || v > limit || words[0] != "number" && v != math.Trunc(v)
	case []any:
		fmt.Sscan(words[len(words)-1], &most)
		bad = words[0] != "list" || len(v) > most
		for i, item := range v {
			wrong = append(wrong, obey(words[1], fmt.Sprintf("%s[%d]", path, i), item)...)
		}
	default:
		bad = true
	}
	if bad {
		wrong = append(wrong, fmt.Sprintf("%s: %v does not fit %q", path, v, rule))
	}
	return wrong
}

func encoded(t *testing.T, body any) (v any) {
	text, err := json.Marshal(body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &v))
	return v
}

// TestObeyReference holds the bodies of several distributions and clouds against the reference.
func TestObeyReference(t *testing.T) {
	files, err := filepath.Glob("../collector/testdata/systems/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		archive, err := os.ReadFile(file)
		require.NoError(t, err)
		s := collector.Collect(context.Background(), collector.Options{Root: unpack(t, string(archive))})
		require.Empty(t, obey("source", "", encoded(t, RegisterSource(s, "1.2.3"))), file)
		require.Empty(t, obey("disks", "", encoded(t, SourceDisks(s))), file)
	}
	require.Empty(t, obey("source", "", encoded(t, RegisterSource(centos(), "1.2.3"))))
	require.Greater(t, len(obey("source", "", encoded(t, smsapi.RegisterSource{}))), 10, "the table finds what is missing and what is empty")
}

// unpack makes a tree of a text archive as package collector has them.
func unpack(t *testing.T, archive string) string {
	dir := t.TempDir()
	_, rest, _ := strings.Cut("\n"+archive, "\n-- ")
	for _, entry := range strings.Split(rest, "\n-- ") {
		head, content, _ := strings.Cut(entry, "\n")
		name, target, link := strings.Cut(strings.TrimSuffix(head, " --"), " -> ")
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if link {
			require.NoError(t, os.Symlink(target, path))
		} else {
			require.NoError(t, os.WriteFile(path, []byte(content+"\n"), 0o755))
		}
	}
	return dir
}
