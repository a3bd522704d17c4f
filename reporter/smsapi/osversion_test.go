package smsapi

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOSVersion(t *testing.T) {
	for _, c := range []struct {
		id, name, version string
		bits              int
		want              string
	}{
		{"centos", "CentOS Linux 7 (Core)", "7.6.1810", 64, "CENTOS_7_6_64BIT"}, // the example of the documents
		{"centos", "CentOS Stream 9", "9", 64, "CENTOS_STREAM_9_64BIT"},
		{"rhel", "Red Hat Enterprise Linux", "5.3", 32, "REDHAT_5_3_32BIT"}, // the example of the documents
		{"ubuntu", "Ubuntu 22.04.3 LTS", "22.04", 64, "UBUNTU_22_4_64BIT"},
		{"ubuntu", "Ubuntu", "18.10", 64, "UBUNTU_18_10_64BIT"},
		{"debian", "Debian GNU/Linux 12", "12.11", 64, "DEBIAN_12_11_64BIT"},
		{"sles", "SUSE Linux Enterprise Server 15 SP4", "15.4", 64, "SUSE_15_SP4_64BIT"},
		{"opensuse-leap", "openSUSE Leap 15.5", "15.5", 64, "OPENSUSE_15_5_64BIT"},
		{"openEuler", "openEuler 22.03 (LTS-SP1)", "22.03", 64, "OPENEULER_22_3_64BIT"},
		{"amzn", "Amazon Linux 2", "2", 64, "AMAZON_2_64BIT"},
		{"my-own linux", "", "", 64, "MY_OWN_LINUX_64BIT"},
		{"", "", "3", 64, "LINUX_3_64BIT"},
	} {
		require.Equal(t, c.want, OSVersion(c.id, c.name, c.version, c.bits))
	}
	for product, want := range map[string]string{
		"Windows Server 2012 R2 Standard": "WINDOWS2012_R2_64BIT", "Windows Server 2016 Datacenter": "WINDOWS2016_64BIT",
		"Windows 10 Pro": "WINDOWS10_64BIT", "Windows 8.1": "WINDOWS8_1_64BIT", "Microsoft Windows Server 2022": "WINDOWS2022_64BIT", "": "WINDOWS_64BIT",
	} {
		require.Equal(t, want, WindowsVersion(product, 64))
	}
}
