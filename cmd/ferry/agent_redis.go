package main

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"sync"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/agent/config"
	"github.com/ferry-migrate/ferry/agent/machine"
	"github.com/ferry-migrate/ferry/reporter"
)

// runAgent runs the daemon and, where the configuration says so, migrations of Redis beside it.
func runAgent(ctx context.Context, c *config.Config, client *reporter.Client, daemon *agent.Daemon, log *slog.Logger) error {
	if !c.Redis {
		return daemon.Run(ctx)
	}
	objects, err := c.Objects()
	if err != nil {
		return err
	}
	m := machine.New(machine.Config{
		Dir: c.State, Service: client, Log: log, Version: version, Poll: c.Poll, Objects: objects,
		Source: func() string {
			if s := daemon.Agent(); !s.Deleted {
				return s.Source
			}
			return ""
		},
		IP: func() string { return addressTo(c.Endpoint) },
	})
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { m.Run(ctx) })
	err = daemon.Run(ctx)
	stop()
	group.Wait()
	return err
}

// addressTo returns the address by which this machine reaches a URL, empty if it does not. Nothing is sent.
func addressTo(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	c, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), "9"))
	if err != nil {
		return ""
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return ""
	}
	return host
}
