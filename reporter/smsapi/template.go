package smsapi

import "strconv"

// TemplateBody wraps the body of POST /v3/vm/templates and PUT /v3/vm/templates/{id}.
type TemplateBody struct {
	Template Template `json:"template" rule:"required"`
}

func (b *TemplateBody) check() error { return CheckName(b.Template.Name) }

// Template describes a target server that is to be made. The documents close no set but those of the answer, which they then fill
// with other values: kinds of disks and addresses are free text.
type Template struct {
	Name             string            `json:"name" rule:"required,min=1"` // letters, digits, '_' and '-'
	IsTemplate       *bool             `json:"is_template,omitempty"`      // false: made for one task and deleted with it
	Region           string            `json:"region,omitempty"`
	ProjectID        string            `json:"projectid,omitempty"`
	TargetServerName string            `json:"target_server_name,omitempty"`
	AvailabilityZone string            `json:"availability_zone,omitempty"`
	VolumeType       string            `json:"volumetype,omitempty"` // SAS, SSD, SATA …
	Flavor           string            `json:"flavor,omitempty"`
	VPC              *TemplateVPC      `json:"vpc,omitempty"`
	NICs             []TemplateNIC     `json:"nics,omitempty" rule:"max=50"`
	SecurityGroups   []TemplateGroup   `json:"security_groups,omitempty" rule:"max=50"`
	PublicIP         *TemplatePublicIP `json:"publicip,omitempty"`
	Disks            []TemplateDisk    `json:"disk,omitempty" rule:"max=60"` // sic
	DataVolumeType   string            `json:"data_volume_type,omitempty"`
	TargetPassword   string            `json:"target_password,omitempty"` // shown by its own operation only
	ImageID          string            `json:"image_id,omitempty"`
}

// AutoCreate as the id of a network, a subnet or a security group asks for a new one.
const AutoCreate = "autoCreate"

// TemplateVPC is the network of a Template.
type TemplateVPC struct {
	ID   string `json:"id"` // or AutoCreate
	Name string `json:"name"`
	CIDR string `json:"cidr" rule:"default=192.168.0.0/16"`
}

// TemplateNIC is a network interface of a Template. Without an IP it gets one.
type TemplateNIC struct {
	ID   string `json:"id" rule:"required"` // of the subnet, or AutoCreate
	Name string `json:"name" rule:"required"`
	CIDR string `json:"cidr" rule:"required"` // gateway and mask
	IP   string `json:"ip,omitempty"`
}

// TemplateGroup is a security group of a Template.
type TemplateGroup struct {
	ID   string `json:"id" rule:"required"` // or AutoCreate
	Name string `json:"name" rule:"required"`
}

// TemplatePublicIP is the public address of a Template.
type TemplatePublicIP struct {
	Type               string `json:"type" rule:"default=5_bgp"`
	BandwidthSize      int32  `json:"bandwidth_size" rule:"required"` // Mbit/s
	BandwidthShareType string `json:"bandwidth_share_type,omitempty"`
}

// TemplateDisk is a disk of a Template.
type TemplateDisk struct {
	ID        *int64 `json:"id,omitempty"`
	Index     int32  `json:"index" rule:"required"` // from 0
	Name      string `json:"name" rule:"required"`
	DiskType  string `json:"disktype" rule:"required"`
	Size      int64  `json:"size" rule:"required"` // GB
	DeviceUse string `json:"device_use,omitempty"`
}

// ShownTemplate is a template in answers: every field is there, is_template is text, the password is not told.
type ShownTemplate struct {
	ID               string           `json:"id"`
	Name             string           `json:"name"`
	IsTemplate       string           `json:"is_template"`
	Region           string           `json:"region"`
	ProjectID        string           `json:"projectid"`
	TargetServerName string           `json:"target_server_name"`
	AvailabilityZone string           `json:"availability_zone"`
	VolumeType       string           `json:"volumetype"`
	Flavor           string           `json:"flavor"`
	VPC              TemplateVPC      `json:"vpc"`
	NICs             []TemplateNIC    `json:"nics"`
	SecurityGroups   []TemplateGroup  `json:"security_groups"`
	PublicIP         TemplatePublicIP `json:"publicip"`
	Disks            []TemplateDisk   `json:"disk"`
	DataVolumeType   string           `json:"data_volume_type"`
	TargetPassword   string           `json:"target_password"` // empty
	ImageID          string           `json:"image_id"`
}

// Shown returns t as it is shown under an id.
func (t Template) Shown(id string) ShownTemplate {
	s := ShownTemplate{
		ID: id, Name: t.Name, IsTemplate: strconv.FormatBool(t.General()), Region: t.Region, ProjectID: t.ProjectID,
		TargetServerName: t.TargetServerName, AvailabilityZone: t.AvailabilityZone, VolumeType: t.VolumeType, Flavor: t.Flavor,
		NICs: append([]TemplateNIC{}, t.NICs...), SecurityGroups: append([]TemplateGroup{}, t.SecurityGroups...),
		Disks: append([]TemplateDisk{}, t.Disks...), DataVolumeType: t.DataVolumeType, ImageID: t.ImageID,
	}
	set(&s.VPC, t.VPC)
	set(&s.PublicIP, t.PublicIP)
	return s
}

// General reports whether t is for more than one task: one that does not say is.
func (t Template) General() bool { return t.IsTemplate == nil || *t.IsTemplate }

// ShownTemplateBody wraps the answer of GET /v3/vm/templates/{id}.
type ShownTemplateBody struct {
	Template ShownTemplate `json:"template"`
}

// TemplateList is the answer of GET /v3/vm/templates.
type TemplateList struct {
	Count     int             `json:"count"`
	Templates []ShownTemplate `json:"templates"`
}

// TargetPassword is the answer of GET /v3/vm/templates/{id}/target-password.
type TargetPassword struct {
	TemplateID string `json:"template_id"`
	Password   string `json:"target_password"`
}
