package service

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/windows/svc"
)

// stopHint is how long the service manager is asked to wait for a stop, beyond which it thinks that the service hangs.
const stopHint = 20 * time.Second

// Run does work as the service that the service manager started, until that says stop or ctx is done.
func Run(ctx context.Context, work Work) error {
	h := &handler{ctx: ctx, work: work}
	if err := svc.Run(Name, h); err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	return h.err
}

// handler is what svc calls back.
type handler struct {
	ctx  context.Context // svc hands none on
	work Work
	err  error // of work, after Execute
}

// Execute implements svc.Handler. A service that ends by itself ends with exit code 1, so that the recovery actions start it again.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, told chan<- svc.Status) (bool, uint32) {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.err = h.work(ctx, func(func() string) {})
	}()
	// Running at once: what it waits for, the network above all, may take longer than a start may.
	told <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown}
	for {
		select {
		case <-ended:
			told <- svc.Status{State: svc.StopPending}
			return h.err != nil, code(h.err)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				told <- r.CurrentStatus
			case svc.Stop, svc.Shutdown, svc.PreShutdown:
				told <- svc.Status{State: svc.StopPending, WaitHint: uint32(stopHint.Milliseconds())}
				cancel()
			}
		}
	}
}

func code(err error) uint32 {
	if err != nil {
		return 1
	}
	return 0
}
