//go:build !linux

package collector

import "context"

// storageEvents has no source of events here: changes are found at the interval.
func storageEvents(context.Context) <-chan struct{} {
	out := make(chan struct{})
	close(out)
	return out
}
