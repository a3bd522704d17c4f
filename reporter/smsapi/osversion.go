package smsapi

import (
	"regexp"
	"strconv"
	"strings"
)

// Names that the service uses for distributions, by the ID of os-release. Others are spelled in the same pattern.
var osNames = map[string]string{
	"rhel": "REDHAT", "ol": "ORACLE", "oracle": "ORACLE", "sles": "SUSE", "sles_sap": "SUSE", "suse": "SUSE", "opensuse-leap": "OPENSUSE", "amzn": "AMAZON", "alinux": "ALIBABA",
	"redhat": "REDHAT", "red": "REDHAT",
}

var (
	leadingNumbers = regexp.MustCompile(`^(\d+)(?:\.(\d+))?`)
	windowsName    = regexp.MustCompile(`(?i)windows (?:server )?(\d+(?:\.\d)?|vista|xp)( r2)?`)
	notInName      = regexp.MustCompile(`[^A-Z0-9]+`)
)

// OSVersion spells a Linux distribution as the service does: CENTOS_7_6_64BIT. id and version are ID and VERSION_ID of
// os-release (version may have more parts), name its NAME or PRETTY_NAME.
func OSVersion(id, name, version string, bits int) string {
	os := osNames[strings.ToLower(id)]
	if os == "" {
		os = strings.Trim(notInName.ReplaceAllString(strings.ToUpper(id), "_"), "_")
	}
	if os == "" {
		os = "LINUX"
	}
	if strings.Contains(strings.ToLower(name), "stream") {
		os += "_STREAM"
	}
	if m := leadingNumbers.FindStringSubmatch(version); m != nil {
		os += "_" + number10(m[1])
		if m[2] != "" && os != "SUSE_"+m[1] {
			os += "_" + number10(m[2])
		} else if m[2] != "" && m[2] != "0" {
			os += "_SP" + number10(m[2])
		}
	}
	return os + "_" + strconv.Itoa(bits) + "BIT"
}

// number10 drops leading zeroes: Ubuntu 22.04 is 22_4.
func number10(s string) string {
	if s = strings.TrimLeft(s, "0"); s == "" {
		return "0"
	}
	return s
}

// WindowsVersion spells a Windows by its product name: "Windows Server 2012 R2 Standard" is WINDOWS2012_R2_64BIT.
func WindowsVersion(product string, bits int) string {
	os := "WINDOWS"
	if m := windowsName.FindStringSubmatch(product); m != nil {
		os += strings.ToUpper(strings.ReplaceAll(m[1], ".", "_"))
		if m[2] != "" {
			os += "_R2"
		}
	}
	return os + "_" + strconv.Itoa(bits) + "BIT"
}
