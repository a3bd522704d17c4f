//go:build !linux && !windows

package collector

// collectors is empty: on this operating system only image files can be looked at.
func collectors(Options) []Collector { return nil }
