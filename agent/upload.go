package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/ferry-migrate/ferry/agent/support"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// uploadLog packs logs and state, as ferry debug bundle does, and puts them where the command says: at the service itself, or at a URL that was signed beforehand.
func (d *Daemon) uploadLog(ctx context.Context, p smsapi.CommandParam) error {
	to := p.Bucket
	switch {
	case to == smsapi.OwnBucket:
		to = p.Object
	case !isPlace(to):
		return fault.Operator("FERRY-LOG-BUCKET", "give a URL that was signed beforehand as the bucket",
			errors.New("logs can be sent to the service or to a URL, not to a bucket by name"))
	}
	var archive bytes.Buffer
	_, err := support.WriteBundle(ctx, &archive, support.Contents{State: d.cfg.Dir, Logs: d.cfg.Logs, Sources: []support.Source{
		{Name: "source.json", Make: func(ctx context.Context) ([]byte, error) { return json.MarshalIndent(d.cfg.Host(ctx), "", " ") }},
	}})
	if err != nil {
		return fmt.Errorf("pack logs: %w", err)
	}
	return d.cfg.Service.PutLogs(ctx, to, archive.Bytes())
}

// isPlace reports whether logs may go to a URL: over TLS, or not off this machine.
func isPlace(to string) bool {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && err == nil && ip.IsLoopback()
}
