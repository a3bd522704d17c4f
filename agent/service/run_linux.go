package service

import (
	"context"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusEvery is how often systemd is told what the service is doing when it does not want to know whether it is alive.
const statusEvery = 30 * time.Second

// Run does work as the service that a service manager started, until ctx is done. systemd is told of its state; no other manager of
// Linux wants to know.
func Run(ctx context.Context, work Work) error {
	watched, end := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer end()
	defer context.AfterFunc(ctx, func() { notify(daemon.SdNotifyStopping) })()
	return work(ctx, func(status func() string) {
		notify(daemon.SdNotifyReady + "\nSTATUS=" + status())
		watch.Go(func() { keepTelling(watched, status) })
	})
}

// keepTelling tells systemd what the service is doing and, by that, that it is alive, three times as often as it must.
func keepTelling(ctx context.Context, status func() string) {
	every, said := statusEvery, "STATUS="
	if limit, err := daemon.SdWatchdogEnabled(false); err == nil && limit > 0 {
		every, said = limit/3, daemon.SdNotifyWatchdog+"\n"+said
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if line := status(); ctx.Err() == nil {
				notify(said + line)
			}
		case <-ctx.Done():
			return
		}
	}
}

// notify tells systemd something, if it started us. An error would mean that systemd is gone; there is nobody else to tell.
func notify(state string) {
	daemon.SdNotify(false, state) //nolint:errcheck // see above
}
