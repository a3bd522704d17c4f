package controller

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// A backup is a tar archive of these files. The keys are in it, because without the sealing key a database is of little use: a backup
// is as secret as the control plane itself.
const databaseInBackup = "controller.db"

var namesInBackup = []string{databaseInBackup, keyFileName, sealingFileName}

// maxKey is the largest key file that is believed, bytes.
const maxKey = 64 << 10

// Backup writes a consistent copy of an SQLite store and its keys, which lie beside keyFile, to the new file path, with mode 0600.
// The control plane may run.
// Errors: FERRY-BACKUP-POSTGRES for a store elsewhere.
func Backup(ctx context.Context, address, keyFile, path string) error {
	database, err := sqliteFile(address)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fault.Operator("FERRY-BACKUP", "name a new file", fmt.Errorf("%s exists", path))
	}
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".ferry-backup-*") // the copy is no larger than the backup that follows
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer os.RemoveAll(scratch)
	files := []string{filepath.Join(scratch, databaseInBackup)}
	if err := store.CopySQLite(ctx, database, files[0]); err != nil {
		return err
	}
	files = append(files, keyFile, filepath.Join(filepath.Dir(keyFile), sealingFileName))
	archive := filepath.Join(scratch, "backup.tar")
	if err := writeArchive(archive, files); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return durable.Rename(archive, path)
}

func writeArchive(path string, files []string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for i, file := range files {
		if err := addFile(w, file, namesInBackup[i]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Sync()
}

func addFile(w *tar.Writer, path, name string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime(), Format: tar.FormatPAX}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}

// Restore puts an SQLite store and its keys, beside keyFile, back from the backup at path. All of it is read and checked before anything is replaced;
// the database comes last, so that a restore that was cut off is done again. A store that exists is replaced only with overwrite, and
// not while a control plane uses it. Errors: FERRY-BACKUP, FERRY-DATABASE, FERRY-STORE-EXISTS, FERRY-CONTROLLER-RUNNING.
func Restore(ctx context.Context, address, keyFile, path string, overwrite bool) error {
	database, err := sqliteFile(address)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(database); err == nil && !overwrite {
		return fault.Operator("FERRY-STORE-EXISTS", "name another one with --store, or replace it with --overwrite", fmt.Errorf("%s exists", database))
	}
	scratch, err := os.MkdirTemp(filepath.Dir(database), ".ferry-restore-*")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(scratch)
	if err := readArchive(path, scratch); err != nil {
		return fault.Operator("FERRY-BACKUP", "use a file that `ferry controller backup` wrote", fmt.Errorf("restore from %s: %w", path, err))
	}
	unpacked := filepath.Join(scratch, databaseInBackup)
	if err := store.CheckSQLite(ctx, unpacked); err != nil {
		return err
	}
	if err := store.RetireSQLite(ctx, database); err != nil {
		return err
	}
	for name, path := range map[string]string{keyFileName: keyFile, sealingFileName: filepath.Join(filepath.Dir(keyFile), sealingFileName)} {
		text, err := os.ReadFile(filepath.Join(scratch, name))
		if err == nil {
			err = durable.WriteFile(path, text, 0o600)
		}
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return durable.Rename(unpacked, database)
}

// readArchive unpacks the files of a backup into dir and syncs them. It wants all of them, each once, and nothing else.
func readArchive(path, dir string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	missing := map[string]int64{databaseInBackup: math.MaxInt64, keyFileName: maxKey, sealingFileName: maxKey} // name to largest size
	for archive := tar.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		most, wanted := missing[header.Name]
		if !wanted || header.Typeflag != tar.TypeReg || header.Size > most {
			return fmt.Errorf("it holds %.80q, which is not of a backup", header.Name)
		}
		delete(missing, header.Name)
		if err := unpack(archive, filepath.Join(dir, header.Name)); err != nil {
			return err
		}
	}
	for name := range missing {
		return fmt.Errorf("it holds no %s", name)
	}
	return nil
}

func unpack(from io.Reader, path string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, from); err != nil {
		return err
	}
	return out.Sync()
}

// sqliteFile returns the file of an SQLite store.
func sqliteFile(address string) (string, error) {
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok && file != "" {
		return filepath.Abs(file)
	}
	if strings.HasPrefix(address, "postgres") {
		return "", fault.Operator("FERRY-BACKUP-POSTGRES",
			"use pg_dump and pg_restore for the database, and keep "+sealingFileName+" of one controller with the dump",
			errors.New("a PostgreSQL store is backed up with the tools of PostgreSQL"))
	}
	return "", fault.Operator("FERRY-STORE", "give it as sqlite:FILE", errors.New("the store is not an SQLite file"))
}
