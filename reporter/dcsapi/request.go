package dcsapi

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// CreateMachine is the body of POST /v2/{project_id}/migration/instance. Where the machine is to stand is kept and shown: it is an agent
// that is there already.
type CreateMachine struct {
	Name            string `json:"name" rule:"required,min=1"`
	Description     string `json:"description,omitempty" rule:"max=1024"`
	VPCID           string `json:"vpc_id" rule:"required"`
	SubnetID        string `json:"subnet_id" rule:"required"`
	SecurityGroupID string `json:"security_group_id" rule:"required"`
}

// CreatedMachine is the answer to CreateMachine.
type CreatedMachine struct {
	InstanceID string `json:"instance_id"` // of the task too
}

// Configure is the body of POST /v2/{project_id}/migration/{task_id}/task.
type Configure struct {
	Method         Method     `json:"migration_method" rule:"required"`
	ResumeMode     ResumeMode `json:"resume_mode" rule:"required"`
	BandwidthLimit string     `json:"bandwidth_limit_mb,omitempty"` // MiB/s, 1 to 10240
	Source         Instance   `json:"source_instance" rule:"required"`
	Target         Instance   `json:"target_instance" rule:"required"`
}

// Check checks what spans fields.
func (c Configure) Check() error {
	_, err := Bandwidth(c.BandwidthLimit)
	return errors.Join(err, c.Source.Check("source_instance"), c.Target.Check("target_instance"))
}

// CreateMigration is the body of POST /v2/{project_id}/migration-task.
type CreateMigration struct {
	Name        string       `json:"task_name" rule:"required,min=1"`
	Description string       `json:"description,omitempty" rule:"max=1024"`
	Type        Type         `json:"migration_type" rule:"required"`
	Method      Method       `json:"migration_method" rule:"required"`
	BackupFiles *BackupFiles `json:"backup_files,omitempty"`
	Network     Network      `json:"network_type,omitempty"`
	Source      *Instance    `json:"source_instance,omitempty"`
	Target      Instance     `json:"target_instance" rule:"required"`
}

// Check checks what spans fields.
func (c CreateMigration) Check() error {
	err := c.Target.Check("target_instance")
	switch {
	case c.Type == BackupImport && c.Method != FullAmount:
		err = errors.Join(err, errors.New("migration_method: a backup import is a full_amount_migration"))
	case c.Type == BackupImport && c.BackupFiles == nil:
		err = errors.Join(err, errors.New("backup_files: required for a backup import"))
	case c.Type == BackupImport:
		err = errors.Join(err, c.BackupFiles.check())
	case c.Source == nil:
		err = errors.Join(err, errors.New("source_instance: required for an online migration"))
	default:
		err = errors.Join(err, c.Source.Check("source_instance"))
	}
	return err
}

// BackupFiles says what a backup import imports, in requests and answers. Files are imported in their order.
type BackupFiles struct {
	FileSource FileSource `json:"file_source,omitempty"` // empty: self_build_obs
	BucketName string     `json:"bucket_name,omitempty" rule:"max=1024"`
	Files      []File     `json:"files" rule:"required,max=1000"`
	BackupID   string     `json:"backup_id,omitempty"`
}

// File is one backup file.
type File struct {
	Name      string `json:"file_name" rule:"required,min=1,max=2048"`
	Size      string `json:"size,omitempty"`      // bytes
	UpdatedAt string `json:"update_at,omitempty"` // sic; YYYY-MM-DD HH:MM:SS
}

func (b *BackupFiles) check() error {
	switch {
	case b.FileSource == BackupRecord:
		return errors.New("backup_files.file_source: there are no cloud instances with backup records here; put the file into a bucket and say self_build_obs")
	case len(b.Files) == 0:
		return errors.New("backup_files.files: no file")
	}
	for i, f := range b.Files {
		if b.BucketName == "" && !isURL(f.Name) {
			return fmt.Errorf("backup_files.files[%d].file_name: not a URL, and no bucket_name", i)
		}
	}
	return nil
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

// Names returns what to import, as `ferry redis import` takes it: URLs, and s3://BUCKET/KEY.
func (b *BackupFiles) Names() (names []string) {
	for _, f := range b.Files {
		switch {
		case isURL(f.Name):
			names = append(names, f.Name)
		case isURL(b.BucketName):
			names = append(names, strings.TrimSuffix(b.BucketName, "/")+"/"+(&url.URL{Path: f.Name}).EscapedPath())
		default:
			names = append(names, "s3://"+b.BucketName+"/"+f.Name)
		}
	}
	return names
}

// Shown returns the files as answers show them: of a URL that was signed beforehand without the signature.
func (b *BackupFiles) Shown() *BackupFiles {
	if b == nil {
		return nil
	}
	shown := *b
	shown.Files = nil
	for _, f := range b.Files {
		if isURL(f.Name) {
			f.Name, _, _ = strings.Cut(f.Name, "?")
		}
		shown.Files = append(shown.Files, f)
	}
	return &shown
}

// UpdateMigration is the body of PUT /v2/{project_id}/migration-task/{task_id}.
type UpdateMigration struct {
	ResumeMode ResumeMode `json:"resume_mode" rule:"required"`
}

// Migrations is the body of the operations on several tasks.
type Migrations struct {
	IDs []string `json:"migration_tasks" rule:"required,min=1,max=1000"`
}

// DeleteMigrations is the body of DELETE /v2/{project_id}/migration-tasks/delete, and its answer.
type DeleteMigrations struct {
	IDs []string `json:"task_id_list" rule:"required,min=1,max=1000"`
}

// ExchangeIP is the body of POST /v2/{project_id}/migration-task/{task_id}/exchange-ip.
type ExchangeIP struct {
	IPs    []string `json:"exchanged_ip" rule:"required"`
	Domain bool     `json:"is_exchange_domain" rule:"required"`
}

// Pages of lists.
const (
	defaultLimit = 10
	maxLimit     = 1000
	maxOffset    = 1 << 30
	maxName      = 255
)

// ListQuery is the query of GET /v2/{project_id}/migration-tasks and of the logs of a task.
type ListQuery struct {
	Name          string // part of it; empty: any. Of tasks
	Level         Level  // empty: any. Of logs
	Limit, Offset int
}

// ParseListQuery reads and checks a query. Unknown parameters are ignored.
func ParseListQuery(v url.Values) (q ListQuery, err error) {
	q = ListQuery{Name: v.Get("name"), Level: Level(strings.ToUpper(v.Get("log_level"))), Limit: defaultLimit}
	if len(q.Name) > maxName {
		return q, errors.New("name is too long")
	}
	if q.Level != "" && !q.Level.Known() {
		return q, errors.New("log_level is neither INFO nor ERROR")
	}
	for name, number := range map[string]struct {
		into *int
		most int
	}{"limit": {&q.Limit, maxLimit}, "offset": {&q.Offset, maxOffset}} {
		text := v.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > number.most {
			return q, fmt.Errorf("%s is not a number from 0 to %d", name, number.most)
		}
		*number.into = n
	}
	return q, nil
}
