package smsapi

import (
	"net/url"
	"strconv"
	"unicode/utf8"
)

// Limits and defaults of the query of GET /v3/sources. The documents give no maximum; it is the one of tasks.
const (
	DefaultSourceLimit = 200
	MaxSourceLimit     = 200
)

// SourceQuery is the query of GET /v3/sources. An empty filter matches everything; filters must all match, exactly.
type SourceQuery struct {
	State               SourceState
	Name                string
	ID                  string
	IP                  string
	IPv6                string // only looked at without IP
	MigrationProject    string // id of a migration project
	MigrationCycle      MigrationCycle
	Connected           *bool
	EnterpriseProjectID string
	ConsistencyResult   *bool  // whether a verification was reported
	VMID                string // of a target or a clone
	Limit               int    // of one page; 0 means 200
	Offset              int
}

// Values returns the query as it is sent.
func (q SourceQuery) Values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"state": string(q.State), "name": q.Name, "id": q.ID, "ip": q.IP, "ipv6": q.IPv6, "migproject": q.MigrationProject,
		"migration_cycle": string(q.MigrationCycle), "enterprise_project_id": q.EnterpriseProjectID, "vm_id": q.VMID,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, value := range map[string]*bool{"connected": q.Connected, "is_consistency_result_exist": q.ConsistencyResult} {
		if value != nil {
			v.Set(name, strconv.FormatBool(*value))
		}
	}
	for name, value := range map[string]int{"limit": q.Limit, "offset": q.Offset} {
		if value > 0 {
			v.Set(name, strconv.Itoa(value))
		}
	}
	return v
}

// ParseSourceQuery reads and checks the query of GET /v3/sources. Unknown parameters are ignored. Errors are *Error.
func ParseSourceQuery(v url.Values) (q SourceQuery, err error) {
	q = SourceQuery{
		State: SourceState(v.Get("state")), Name: v.Get("name"), ID: v.Get("id"), IP: v.Get("ip"), IPv6: v.Get("ipv6"),
		MigrationProject: v.Get("migproject"), MigrationCycle: MigrationCycle(v.Get("migration_cycle")),
		EnterpriseProjectID: v.Get("enterprise_project_id"), VMID: v.Get("vm_id"),
	}
	if err := texts(v, "name", "id", "ip", "ipv6", "migproject", "enterprise_project_id", "vm_id"); err != nil {
		return q, err
	}
	if q.State != "" && !q.State.Known() {
		return q, invalid("state %q is not a source state", trim(string(q.State), 40))
	}
	if q.MigrationCycle != "" && !q.MigrationCycle.Known() {
		return q, invalid("migration_cycle %q is not a migration cycle", trim(string(q.MigrationCycle), 40))
	}
	if q.Connected, err = boolean(v, "connected"); err != nil {
		return q, err
	}
	if q.ConsistencyResult, err = boolean(v, "is_consistency_result_exist"); err != nil {
		return q, err
	}
	q.Limit, q.Offset, err = page(v, DefaultSourceLimit, MaxSourceLimit)
	if q.Limit == 0 {
		q.Limit = DefaultSourceLimit
	}
	return q, err
}

// Limits and defaults of the queries of GET /v3/errors, /v3/migprojects and /v3/vm/templates.
const (
	DefaultPage = 50
	MaxPage     = 100
)

// PageQuery is the query of GET /v3/errors and GET /v3/migprojects; the latter knows no enterprise project.
type PageQuery struct {
	EnterpriseProjectID string
	Limit, Offset       int
}

// ParsePageQuery reads and checks a PageQuery. The documents require the offset of GET /v3/errors and give it a default all the
// same: it may be left out. Errors are *Error.
func ParsePageQuery(v url.Values) (q PageQuery, err error) {
	q.EnterpriseProjectID = v.Get("enterprise_project_id")
	if err := texts(v, "enterprise_project_id"); err != nil {
		return q, err
	}
	q.Limit, q.Offset, err = page(v, DefaultPage, MaxPage)
	return q, err
}

// TemplateQuery is the query of GET /v3/vm/templates.
type TemplateQuery struct {
	Name, AvailabilityZone, Region, ID string
	Limit, Offset                      int
}

// ParseTemplateQuery reads and checks a TemplateQuery. Errors are *Error.
func ParseTemplateQuery(v url.Values) (q TemplateQuery, err error) {
	q = TemplateQuery{Name: v.Get("name"), AvailabilityZone: v.Get("availability_zone"), Region: v.Get("region"), ID: v.Get("id")}
	if err := texts(v, "name", "availability_zone", "region", "id"); err != nil {
		return q, err
	}
	q.Limit, q.Offset, err = page(v, DefaultPage, MaxPage)
	return q, err
}

// texts checks the length of parameters.
func texts(v url.Values, names ...string) error {
	for _, name := range names {
		if utf8.RuneCountInString(v.Get(name)) > maxText {
			return invalid("%s is longer than %d characters", name, maxText)
		}
	}
	return nil
}

// boolean returns a parameter that is true, false or absent.
func boolean(v url.Values, name string) (*bool, error) {
	switch text := v.Get(name); text {
	case "":
		return nil, nil
	case "true", "false":
		b := text == "true"
		return &b, nil
	default:
		return nil, invalid("%s is neither true nor false", name)
	}
}

// page returns the parameters limit and offset.
func page(v url.Values, absent, most int) (limit, offset int, err error) {
	if limit, err = number(v, "limit", absent, most); err != nil {
		return 0, 0, err
	}
	offset, err = number(v, "offset", 0, MaxOffset)
	return limit, offset, err
}
