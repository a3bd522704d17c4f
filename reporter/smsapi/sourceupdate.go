package smsapi

import "net/http"

// UpdateSource is the body of PUT /v3/sources/{source_id}. An absent field stays as it is. Disks and volume groups have an effect
// only while the source waits for its target to be configured.
type UpdateSource struct {
	Name             *string             `json:"name,omitempty" rule:"min=1,max=64"`
	MigrationProject *string             `json:"migprojectid,omitempty"`
	Disks            []DiskChoice        `json:"disks,omitempty" rule:"max=50"`
	VolumeGroups     []VolumeGroupChoice `json:"volume_groups,omitempty" rule:"max=50"`
}

// DiskChoice says what a user wants of a disk. ID is the one of a ShownDisk.
type DiskChoice struct {
	VolumeChoice
	PhysicalVolumes []VolumeChoice `json:"physical_volumes,omitempty"`
}

// VolumeGroupChoice says what a user wants of a volume group. ID is the one of a ShownVolumeGroup.
type VolumeGroupChoice struct {
	VolumeChoice
	LogicalVolumes []VolumeChoice `json:"logical_volumes,omitempty" rule:"max=255"`
}

// VolumeChoice says what a user wants of a disk, a partition, a volume group or a logical volume. A nil field stays as it is.
type VolumeChoice struct {
	ID            string `json:"id" rule:"required,max=1024"`
	NeedMigration *bool  `json:"need_migration,omitempty"`
	AdjustSize    *int64 `json:"adjust_size,omitempty"` // bytes on the target; 0: as on the source
}

// IDs is the body of the operations that delete several things at once.
type IDs struct {
	IDs []string `json:"ids" rule:"required,min=1,max=1000"`
}

// Created is the answer of the operations that make something.
type Created struct {
	ID string `json:"id"`
}

// PrivacyAgreement is the answer of GET /v3/privacy-agreements: whether the statement was accepted.
type PrivacyAgreement struct {
	Flag bool `json:"flag"`
}

// ServiceConfig is the answer of GET /v3/config: what an agent asks for when it starts.
type ServiceConfig struct {
	Config  map[string]string   `json:"config"`  // mainRegion, obs_domain, disktype, process_and_it
	Regions []map[string]string `json:"regions"` // of each region_name and project_name
}

// Versions is the answer of GET /.
type Versions struct {
	Versions []Version `json:"versions"`
}

// Version is one version of the API, and the answer of GET /{version}.
type Version struct {
	ID      string `json:"id"`
	Links   []Link `json:"links"`
	Status  string `json:"status"`  // SUPPORTED
	Updated string `json:"updated"` // for example 2018-09-30T00:00:00Z
}

// Link says where a Version is served.
type Link struct {
	Href string `json:"href"`
	Rel  string `json:"rel"` // self
}

// CheckName returns an *Error unless s is at most 255 letters, digits, '_' and '-': the names of projects and templates.
func CheckName(s string) error {
	if TaskName(s) != s || s == "" {
		return NewError(http.StatusBadRequest, CodeInvalid, "name %q: only letters, digits, '_' and '-' are allowed", trim(s, 80))
	}
	return nil
}
