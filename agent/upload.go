package agent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// uploadLog packs the log files and puts them where the command says: at the service itself, or at a URL that was signed beforehand.
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
	if err := packLogs(&archive, d.cfg.Logs); err != nil {
		return fmt.Errorf("pack logs: %w", err)
	}
	if archive.Len() > smsapi.MaxLogs {
		return fmt.Errorf("the logs are too large: %d bytes packed", archive.Len())
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

// packLogs writes the files of a directory as tar.gz. A file that grows meanwhile is cut at the size it had.
func packLogs(to io.Writer, dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(to)
	pack := tar.NewWriter(zip)
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		if err := packFile(pack, filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return errors.Join(pack.Close(), zip.Close())
}

func packFile(pack *tar.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	if err := pack.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.CopyN(pack, f, info.Size())
	return err
}
