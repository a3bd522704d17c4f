package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"  // registers itself
	_ "github.com/goreleaser/nfpm/v2/arch" // registers itself
	_ "github.com/goreleaser/nfpm/v2/deb"  // registers itself
	_ "github.com/goreleaser/nfpm/v2/rpm"  // registers itself
)

// linux makes the packages and the archive of one architecture.
func linux(arch, out string, epoch time.Time) error {
	for _, format := range []string{"deb", "rpm", "apk", "archlinux"} {
		if err := pack(format, arch, out, epoch); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}
	name := filepath.Join(out, fmt.Sprintf("ferry_%s_linux_%s", os.Getenv("VERSION"), arch))
	return errors.Join(tarball(name+".tar.gz", epoch), bill(os.Getenv("BINARY"), os.Getenv("VERSION"), name+".cdx.json", epoch))
}

// pack makes one package. Variables of nfpm.yaml come from the environment.
func pack(format, arch, out string, epoch time.Time) error {
	set := func(name string) string {
		switch {
		case name == "ARCH":
			return arch
		case name == "VERSION" && format == "apk":
			return os.Getenv("VERSION_APK")
		}
		return os.Getenv(name)
	}
	config, err := nfpm.ParseFileWithEnvMapping("packaging/nfpm.yaml", set)
	if err != nil {
		return err
	}
	info, err := config.Get(format)
	if err != nil {
		return err
	}
	info = nfpm.WithDefaults(info)
	info.MTime = epoch
	for _, c := range info.Contents {
		if c.FileInfo != nil {
			c.FileInfo.MTime = epoch
		}
	}
	if err := nfpm.Validate(info); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	return create(filepath.Join(out, packager.ConventionalFileName(info)), func(w io.Writer) error { return packager.Package(info, w) })
}

// A file of an archive.
type file struct {
	name, from string
	mode       int64
}

// files are what the archives hold beside the program.
func files(program string) ([]file, error) {
	all := []file{
		{program, os.Getenv("BINARY"), 0o755}, {"LICENSE", "LICENSE", 0o644}, {"README.md", "README.md", 0o644}, {"CHANGELOG.md", "CHANGELOG.md", 0o644},
		{"agent.yaml", "packaging/agent.yaml", 0o644},
	}
	docs := os.Getenv("DOCS")
	for _, pattern := range []string{"man/*", "completions/*"} {
		found, err := filepath.Glob(filepath.Join(docs, pattern)) // in order
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			name, err := filepath.Rel(docs, path)
			if err != nil {
				return nil, err
			}
			all = append(all, file{filepath.ToSlash(name), path, 0o644})
		}
	}
	return all, nil
}

func tarball(path string, epoch time.Time) error {
	all, err := files("ferry")
	if err != nil {
		return err
	}
	return create(path, func(w io.Writer) error {
		packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		to := tar.NewWriter(packed)
		for _, f := range all {
			text, err := os.ReadFile(f.from)
			if err != nil {
				return err
			}
			header := &tar.Header{Name: "ferry/" + f.name, Mode: f.mode, Size: int64(len(text)), ModTime: epoch, Format: tar.FormatUSTAR}
			if err := to.WriteHeader(header); err != nil {
				return err
			}
			if _, err := to.Write(text); err != nil {
				return err
			}
		}
		return errors.Join(to.Close(), packed.Close())
	})
}

// windows makes the archive of one architecture.
func windows(arch, out string, epoch time.Time) error {
	all, err := files("ferry.exe")
	if err != nil {
		return err
	}
	name := filepath.Join(out, fmt.Sprintf("ferry_%s_windows_%s", os.Getenv("VERSION"), arch))
	if err := bill(os.Getenv("BINARY"), os.Getenv("VERSION"), name+".cdx.json", epoch); err != nil {
		return err
	}
	return create(name+".zip", func(w io.Writer) error {
		to := zip.NewWriter(w)
		for _, f := range all {
			text, err := os.ReadFile(f.from)
			if err != nil {
				return err
			}
			member, err := to.CreateHeader(&zip.FileHeader{Name: "ferry/" + f.name, Method: zip.Deflate, Modified: epoch})
			if err != nil {
				return err
			}
			if _, err := member.Write(text); err != nil {
				return err
			}
		}
		return to.Close()
	})
}

// create writes a file, and leaves none when that fails.
func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
