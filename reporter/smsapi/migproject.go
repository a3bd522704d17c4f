package smsapi

// MigrationProject is the body of POST /v3/migprojects and the answer of GET /v3/migprojects/{mig_project_id}: defaults for the
// tasks of the sources in it.
type MigrationProject struct {
	Name              string   `json:"name" rule:"required,min=1"` // letters, digits, '_' and '-'
	Description       string   `json:"description"`
	IsDefault         bool     `json:"isdefault"` // sources register into this one
	Region            string   `json:"region" rule:"required"`
	StartTargetServer bool     `json:"start_target_server" rule:"default=true"`
	SpeedLimit        int      `json:"speed_limit" rule:"max=65535"` // Mbit/s, 0 = none
	UsePublicIP       bool     `json:"use_public_ip" rule:"default=true"`
	ExistServer       bool     `json:"exist_server"`
	Type              TaskType `json:"type" rule:"required"`
	EnterpriseProject string   `json:"enterprise_project"`
	Syncing           bool     `json:"syncing"`
	StartNetworkCheck bool     `json:"start_network_check"`
}

func (p *MigrationProject) check() error { return CheckName(p.Name) }

// UpdateMigrationProject is the body of PUT /v3/migprojects/{mig_project_id}. An absent field stays as it is.
type UpdateMigrationProject struct {
	Name              *string   `json:"name,omitempty" rule:"min=1"`
	Description       *string   `json:"description,omitempty"`
	IsDefault         *bool     `json:"isdefault,omitempty"`
	Region            *string   `json:"region,omitempty"`
	StartTargetServer *bool     `json:"start_target_server,omitempty"`
	SpeedLimit        *int      `json:"speed_limit,omitempty" rule:"max=65535"` // Mbit/s, 0 = none
	UsePublicIP       *bool     `json:"use_public_ip,omitempty"`
	ExistServer       *bool     `json:"exist_server,omitempty"`
	Type              *TaskType `json:"type,omitempty"`
	EnterpriseProject *string   `json:"enterprise_project,omitempty"`
	Syncing           *bool     `json:"syncing,omitempty"`
	StartNetworkCheck *bool     `json:"start_network_check,omitempty"`
}

func (u *UpdateMigrationProject) check() error {
	if u.Name == nil {
		return nil
	}
	return CheckName(*u.Name)
}

// Apply changes p as u says.
func (u *UpdateMigrationProject) Apply(p *MigrationProject) {
	set(&p.Name, u.Name)
	set(&p.Description, u.Description)
	set(&p.IsDefault, u.IsDefault)
	set(&p.Region, u.Region)
	set(&p.StartTargetServer, u.StartTargetServer)
	set(&p.SpeedLimit, u.SpeedLimit)
	set(&p.UsePublicIP, u.UsePublicIP)
	set(&p.ExistServer, u.ExistServer)
	set(&p.Type, u.Type)
	set(&p.EnterpriseProject, u.EnterpriseProject)
	set(&p.Syncing, u.Syncing)
	set(&p.StartNetworkCheck, u.StartNetworkCheck)
}

// set changes a value that was sent.
func set[T any](value, sent *T) {
	if sent != nil {
		*value = *sent
	}
}

// ListedMigrationProject is one project of a MigrationProjectList. Here exist_server says whether the project has sources.
type ListedMigrationProject struct {
	ID string `json:"id"`
	MigrationProject
}

// MigrationProjectList is the answer of GET /v3/migprojects.
type MigrationProjectList struct {
	Count    int                      `json:"count"`
	Projects []ListedMigrationProject `json:"migprojects"`
}
