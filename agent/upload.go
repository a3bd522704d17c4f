package agent

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// uploadLog packs the log files and puts them where the command says: a URL that takes a PUT, such as a pre-signed one.
func (d *Daemon) uploadLog(ctx context.Context, p smsapi.CommandParam) error {
	to, err := url.Parse(p.Bucket)
	if err != nil || to.Host == "" || to.Scheme != "https" && to.Scheme != "http" {
		return fault.Operator("FERRY-LOG-BUCKET", "give a pre-signed URL as the bucket", errors.New("logs can be sent to a URL only, not to a bucket by name"))
	}
	archive, err := os.CreateTemp(d.cfg.Dir, ".logs.*")
	if err != nil {
		return fmt.Errorf("pack logs: %w", err)
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	if err := packLogs(archive, d.cfg.Logs); err != nil {
		return fmt.Errorf("pack logs: %w", err)
	}
	size, err := archive.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = archive.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("pack logs: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), io.NopCloser(archive))
	if err != nil {
		return errors.New("send logs: the URL cannot be used") // it is a secret, so it is not quoted
	}
	request.ContentLength = size
	request.Header.Set("Content-Type", "application/gzip")
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		var plain *url.Error
		if errors.As(err, &plain) {
			err = plain.Err // without the URL
		}
		return fault.Temporary(fmt.Errorf("send logs: %w", err))
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("send logs: the storage answered %s", response.Status)
	}
	return nil
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
