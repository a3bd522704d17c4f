package controller_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func (p *plane) createTemplate(body string) string {
	p.Helper()
	var created smsapi.Created
	p.call("POST", "/v3/vm/templates", []byte(body), &created)
	return created.ID
}

func TestMigrationProjects(t *testing.T) {
	p := startPlane(t, t.TempDir())
	create := func(name string, isDefault bool) string {
		var created smsapi.Created
		p.call("POST", "/v3/migprojects", fmt.Appendf(nil, `{"name":%q,"region":"r","type":"MIGRATE_FILE","isdefault":%t,"enterprise_project":"e-%[1]s"}`, name, isDefault), &created)
		return created.ID
	}
	unplaced := p.register(registration(interface_("before")))
	one, two := create("one", true), create("two", false)

	var shown smsapi.MigrationProject
	p.call("GET", "/v3/migprojects/"+one, nil, &shown)
	require.Equal(t, smsapi.MigrationProject{
		Name: "one", IsDefault: true, Region: "r", StartTargetServer: true, UsePublicIP: true, Type: smsapi.MigrateFile, EnterpriseProject: "e-one",
	}, shown)

	id := p.register(registration(nil))
	require.Equal(t, "e-one", p.source(id).EnterpriseProjectID, "sources register into the default project")
	require.Equal(t, 1, p.sources("migproject="+one).Count)
	require.Equal(t, 1, p.sources("enterprise_project_id=e-one").Count)
	p.call("PUT", "/v3/sources/"+unplaced, fmt.Appendf(nil, `{"migprojectid":%q}`, two), nil)
	require.Equal(t, 1, p.sources("migproject="+two).Count)

	p.call("PUT", "/v3/migprojects/"+two+"/default", nil, nil)
	var list smsapi.MigrationProjectList
	p.call("GET", "/v3/migprojects?limit=1&offset=1", nil, &list)
	require.Equal(t, 2, list.Count)
	require.Len(t, list.Projects, 1)
	require.Equal(t, []any{two, true, true}, []any{list.Projects[0].ID, list.Projects[0].IsDefault, list.Projects[0].ExistServer})
	p.call("GET", "/v3/migprojects/"+one, nil, &shown)
	require.False(t, shown.IsDefault, "there is one default")

	p.refused(400, smsapi.CodeInvalid, "DELETE", "/v3/migprojects/"+two, nil) // the default
	p.refused(400, smsapi.CodeInvalid, "DELETE", "/v3/migprojects/"+one, nil) // it has a source
	p.call("PUT", "/v3/sources/"+id, fmt.Appendf(nil, `{"migprojectid":%q}`, two), nil)
	p.call("PUT", "/v3/migprojects/"+one, []byte(`{"description":"empty now","syncing":true}`), nil)
	p.call("GET", "/v3/migprojects/"+one, nil, &shown)
	require.True(t, shown.Syncing && shown.Description == "empty now" && shown.Name == "one")
	p.call("DELETE", "/v3/migprojects/"+one, nil, nil)
	for _, c := range []struct{ method, path, body string }{
		{"GET", "", ""}, {"DELETE", "", ""}, {"PUT", "/default", ""}, {"PUT", "", `{}`},
	} {
		p.refused(404, smsapi.CodeNotFound, c.method, "/v3/migprojects/"+one+c.path, []byte(c.body))
	}
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/migprojects", []byte(`{"name":"a b","region":"r","type":"MIGRATE_FILE"}`))
	p.refused(400, smsapi.CodeInvalid, "PUT", "/v3/migprojects/"+two, []byte(`{"type":"TAPE"}`))
	p.refused(400, smsapi.CodeInvalid, "GET", "/v3/migprojects?limit=101", nil)
}

func TestTemplates(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	id := p.createTemplate(`{"template":{"name":"t1","region":"r","projectid":"p","availability_zone":"z","volumetype":"SAS","flavor":"s3.small.1",
		"vpc":{"id":"autoCreate","name":"v"},"nics":[{"id":"autoCreate","name":"n","cidr":"192.168.0.1/24"}],
		"security_groups":[{"id":"autoCreate","name":"g"}],"publicip":{"bandwidth_size":5},
		"disk":[{"index":0,"name":"d","disktype":"SAS","size":40}],"target_server_name":"target","data_volume_type":"SSD",
		"target_password":"s3cret-word","image_id":"i"}}`)
	private := p.createTemplate(`{"template":{"name":"t2","is_template":false}}`)

	_, answer := p.do("GET", "/v3/vm/templates/"+id, nil)
	require.JSONEq(t, fmt.Sprintf(`{"template":{"id":%q,"name":"t1","is_template":"true","region":"r","projectid":"p","target_server_name":"target",
		"availability_zone":"z","volumetype":"SAS","flavor":"s3.small.1","vpc":{"id":"autoCreate","name":"v","cidr":"192.168.0.0/16"},
		"nics":[{"id":"autoCreate","name":"n","cidr":"192.168.0.1/24"}],"security_groups":[{"id":"autoCreate","name":"g"}],
		"publicip":{"type":"5_bgp","bandwidth_size":5},"disk":[{"index":0,"name":"d","disktype":"SAS","size":40}],"data_volume_type":"SSD",
		"target_password":"","image_id":"i"}}`, id), string(answer))

	password := func() string {
		var got smsapi.TargetPassword
		p.call("GET", "/v3/vm/templates/"+id+"/target-password", nil, &got)
		require.Equal(t, id, got.TemplateID)
		return got.Password
	}
	require.Equal(t, "s3cret-word", password())
	files, err := filepath.Glob(filepath.Join(dir, "controller.db*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotContains(t, string(content), "s3cret-word", "it lies sealed in the database")
	}
	p.call("PUT", "/v3/vm/templates/"+id, []byte(`{"template":{"name":"renamed","region":"r"}}`), nil)
	require.Equal(t, "s3cret-word", password(), "it stays until another one is given")
	p.call("PUT", "/v3/vm/templates/"+id, []byte(`{"template":{"name":"renamed","region":"r","target_password":"new"}}`), nil)
	require.Equal(t, "new", password())

	for query, want := range map[string]int{"": 1, "name=renamed": 1, "name=t1": 0, "region=r": 1, "availability_zone=z": 0, "id=" + private: 1, "offset=1": 1} {
		var list smsapi.TemplateList
		p.call("GET", "/v3/vm/templates?"+query, nil, &list)
		require.Equal(t, want, list.Count, query)
	}
	p.refused(404, smsapi.CodeNotFound, "POST", "/v3/vm/templates/delete", fmt.Appendf(nil, `{"ids":[%q,"none"]}`, id))
	p.call("DELETE", "/v3/vm/templates/"+private, nil, nil)
	p.call("POST", "/v3/vm/templates/delete", fmt.Appendf(nil, `{"ids":[%q]}`, id), nil)
	for _, c := range []struct{ method, path, body string }{
		{"GET", "", ""}, {"DELETE", "", ""}, {"GET", "/target-password", ""}, {"PUT", "", `{"template":{"name":"n"}}`},
	} {
		p.refused(404, smsapi.CodeNotFound, c.method, "/v3/vm/templates/"+id+c.path, []byte(c.body))
	}
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/vm/templates", []byte(`{"template":{}}`))
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/vm/templates/delete", []byte(`{}`))
}

// A template that was made for one task goes with it, and with its source.
func TestPrivateTemplatesGoWithTheirTask(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	make := func(general bool) (template, task string) {
		template = p.createTemplate(fmt.Sprintf(`{"template":{"name":"t","is_template":%t}}`, general))
		body := strings.Replace(string(taskOf(t, id)), `"name"`, fmt.Sprintf(`"vm_template_id":%q,"name"`, template), 1)
		return template, p.create([]byte(body))
	}
	private, task := make(false)
	p.call("DELETE", "/v3/tasks/"+task, nil, nil)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/vm/templates/"+private, nil)
	general, task := make(true)
	p.call("DELETE", "/v3/tasks/"+task, nil, nil)
	private, _ = make(false)
	p.call("DELETE", "/v3/sources/"+id, nil, nil)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/vm/templates/"+private, nil)
	p.call("GET", "/v3/vm/templates/"+general, nil, &smsapi.ShownTemplateBody{})
}

func TestServiceOperations(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	var versions smsapi.Versions
	p.call("GET", "/", nil, &versions)
	var version smsapi.Version
	p.call("GET", "/v3", nil, &version)
	require.Equal(t, []smsapi.Version{version}, versions.Versions)
	require.Equal(t, "v3", version.ID)
	require.Equal(t, []smsapi.Link{{Href: p.URL() + "/v3", Rel: "self"}}, version.Links)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v4", nil)

	var config smsapi.ServiceConfig
	p.call("GET", "/v3/config", nil, &config)
	require.NotEmpty(t, config.Config["mainRegion"])
	require.Contains(t, config.Config, "obs_domain")
	require.Len(t, config.Regions, 1)

	var agreement smsapi.PrivacyAgreement
	p.call("GET", "/v3/privacy-agreements", nil, &agreement)
	require.False(t, agreement.Flag)
	p.call("POST", "/v3/privacy-agreements", nil, nil)
	p.call("POST", "/v3/privacy-agreements", nil, nil)
	p.call("GET", "/v3/privacy-agreements", nil, &agreement)
	require.True(t, agreement.Flag)
}
