package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestSources(t *testing.T) {
	suite{
		"a source comes back as it was":       testSourceComesBack,
		"an id is registered once":            testSourceOnce,
		"an interface belongs to one source":  testInterface,
		"changes of a source come one by one": testSourceOneByOne,
		"filters and pages":                   testSourceFilters,
		"an agent is heard of":                testHeard,
		"states are counted":                  testCounts,
		"failures are listed":                 testFailures,
		"projects":                            testProjects,
		"templates":                           testTemplates,
		"settings":                            testSettings,
	}.run(t)
}

func newSource(id string) *store.Source {
	return &store.Source{
		ID: id, Name: "name-" + id, State: smsapi.SourceWaiting, Cycle: smsapi.CycleChecking, StateAt: 1, CycleAt: 2, Added: 3, Seen: 4, Since: 5,
		Info:   smsapi.RegisterSource{IP: "10.0.0.1", IPv6: "fe80::1", Name: "host", Networks: []smsapi.SourceNetwork{{MAC: "mac"}}},
		Checks: []smsapi.EnvironmentCheck{{ID: 1, Name: "check", Result: smsapi.CheckOK}}, Choices: map[string]smsapi.Choice{},
	}
}

func addSource(t *testing.T, db *store.DB, s *store.Source) {
	t.Helper()
	change(t, db, func(tx *store.Tx) error {
		added, err := tx.AddSource(s)
		require.True(t, added)
		return err
	})
}

func testSourceComesBack(t *testing.T, db *store.DB) {
	addSource(t, db, newSource("a"))
	want := newSource("a")
	change(t, db, func(tx *store.Tx) error {
		s, err := tx.Source("a")
		require.NoError(t, err)
		want.Number = s.Number
		require.Equal(t, want, s)
		s.Name, s.ProjectID, s.EnterpriseID, s.Seen, s.Since = "new\x00", "p", "e", 8, 9
		s.Move(smsapi.SourceReplicate, smsapi.CycleReplicating, 7)
		s.Info.Memory, s.Choices["/dev/vda"] = 5, smsapi.Choice{AdjustSize: 6}
		*want = *s
		want.Name = "new\uFFFD"
		return tx.SaveSource(s)
	})
	view(t, db, func(tx *store.Tx) error {
		s, err := tx.Source("a")
		require.Equal(t, want, s)
		require.Equal(t, []int64{7, 7}, []int64{s.StateAt, s.CycleAt})
		return err
	})
	change(t, db, func(tx *store.Tx) error {
		require.NoError(t, tx.CreateTask(newTask("of a")))
		return tx.DeleteSource("a")
	})
	view(t, db, func(tx *store.Tx) error {
		_, err := tx.Source("a")
		require.ErrorIs(t, err, store.ErrNotFound)
		return nil
	})
	require.ErrorIs(t, db.Change(t.Context(), func(tx *store.Tx) error { return tx.DeleteSource("a") }), store.ErrNotFound)
}

// Many agents that lost their id come back at once with the same interface, many programs with the same id: one source results.
func testSourceOnce(t *testing.T, db *store.DB) {
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			err := db.Change(context.Background(), func(tx *store.Tx) error {
				owner, err := tx.ClaimMAC("mac", fmt.Sprint("id", n))
				if err != nil {
					return err
				}
				_, err = tx.AddSource(newSource(owner))
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	view(t, db, func(tx *store.Tx) error {
		_, count, err := tx.Sources(store.SourceFilter{})
		require.Equal(t, 1, count)
		return err
	})
}

// Many decide on what a source is like and change it: none decides on what another has changed meanwhile.
func testSourceOneByOne(t *testing.T, db *store.DB) {
	const writers, times = 8, 5
	addSource(t, db, newSource("a"))
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range times {
				err := db.Change(context.Background(), func(tx *store.Tx) error {
					s, err := tx.Source("a")
					if err != nil {
						return err
					}
					s.Info.Memory++
					return tx.SaveSource(s)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	view(t, db, func(tx *store.Tx) error {
		s, err := tx.Source("a")
		require.Equal(t, int64(writers*times), s.Info.Memory)
		return err
	})
}

func testInterface(t *testing.T, db *store.DB) {
	addSource(t, db, newSource("a"))
	change(t, db, func(tx *store.Tx) error {
		owner, err := tx.ClaimMAC("mac", "a")
		require.Equal(t, "a", owner)
		require.NoError(t, err)
		owner, err = tx.ClaimMAC("mac", "b")
		require.Equal(t, "a", owner)
		require.NoError(t, err)
		require.NoError(t, tx.DeleteSource("a"))
		owner, err = tx.ClaimMAC("mac", "b")
		require.Equal(t, "b", owner, "a deleted source gives its interfaces back")
		return err
	})
}

func testSourceFilters(t *testing.T, db *store.DB) {
	for n := range 5 {
		s := newSource(fmt.Sprint("s", n))
		s.Seen = int64(n)
		if n%2 == 1 {
			s.State, s.Cycle, s.ProjectID, s.EnterpriseID, s.Info.IP, s.Info.IPv6 = smsapi.SourceError, smsapi.CycleSyncing, "p", "e", "10.0.0.2", "::2"
		}
		addSource(t, db, s)
	}
	yes, no := true, false
	for _, c := range []struct {
		query smsapi.SourceQuery
		want  []string
	}{
		{smsapi.SourceQuery{}, []string{"s4", "s3", "s2", "s1", "s0"}},
		{smsapi.SourceQuery{Offset: 1}, []string{"s3", "s2", "s1", "s0"}},
		{smsapi.SourceQuery{State: smsapi.SourceError}, []string{"s3", "s1"}},
		{smsapi.SourceQuery{Name: "name-s2"}, []string{"s2"}},
		{smsapi.SourceQuery{ID: "s2", Name: "other"}, nil},
		{smsapi.SourceQuery{IP: "10.0.0.2"}, []string{"s3", "s1"}},
		{smsapi.SourceQuery{IP: "10.0.0.2", IPv6: "fe80::1"}, []string{"s3", "s1"}}, // the IP wins
		{smsapi.SourceQuery{IPv6: "::2"}, []string{"s3", "s1"}},
		{smsapi.SourceQuery{MigrationProject: "p"}, []string{"s3", "s1"}},
		{smsapi.SourceQuery{MigrationCycle: smsapi.CycleChecking}, []string{"s4", "s2", "s0"}},
		{smsapi.SourceQuery{EnterpriseProjectID: "e"}, []string{"s3", "s1"}},
		{smsapi.SourceQuery{Connected: &yes}, []string{"s4", "s3"}},
		{smsapi.SourceQuery{Connected: &no}, []string{"s2", "s1", "s0"}},
	} {
		c.query.Limit = 10
		view(t, db, func(tx *store.Tx) error {
			page, count, err := tx.Sources(store.SourceFilter{SourceQuery: c.query, Silence: 2})
			var got []string
			for _, s := range page {
				got = append(got, s.ID)
			}
			require.Equal(t, c.want, got, "%+v", c.query)
			require.Equal(t, len(c.want)+c.query.Offset, count, "the count is that of all matches")
			return err
		})
	}
}

func testHeard(t *testing.T, db *store.DB) {
	addSource(t, db, newSource("a")) // heard of at 4, since 5
	for _, c := range []struct{ now, silence, since int64 }{{10, 3, 5}, {20, 10, 20}, {30, 19, 20}} {
		change(t, db, func(tx *store.Tx) error { return tx.SawSource("a", c.now, c.silence) })
		view(t, db, func(tx *store.Tx) error {
			s, err := tx.Source("a")
			require.Equal(t, []int64{c.now, c.since}, []int64{s.Seen, s.Since})
			return err
		})
	}
	require.ErrorIs(t, db.Change(t.Context(), func(tx *store.Tx) error { return tx.SawSource("b", 1, 1) }), store.ErrNotFound)
}

func testCounts(t *testing.T, db *store.DB) {
	for _, id := range []string{"a", "b", "source"} {
		addSource(t, db, newSource(id))
	}
	for _, id := range []string{"before", "t"} { // of the source called "source"
		change(t, db, func(tx *store.Tx) error { return tx.CreateTask(newTask(id)) })
	}
	view(t, db, func(tx *store.Tx) error {
		counts, err := tx.CountSources()
		require.ElementsMatch(t, []store.StateCount{
			{State: smsapi.SourceWaiting, Count: 2}, {State: smsapi.SourceWaiting, WithTask: true, Count: 1},
		}, counts)
		task, err2 := tx.CurrentTask("source")
		require.NoError(t, err2)
		require.Equal(t, "t", task.ID)
		_, err2 = tx.CurrentTask("a")
		require.ErrorIs(t, err2, store.ErrNotFound)
		tasks, err2 := tx.CurrentTasks([]*store.Source{newSource("a"), newSource("source")})
		require.NoError(t, err2)
		require.Equal(t, map[string]*store.Task{"source": task}, tasks)
		return err
	})
}

func testFailures(t *testing.T, db *store.DB) {
	addSource(t, db, newSource("a"))
	for _, c := range []struct {
		id, source string
		state      smsapi.TaskState
	}{
		{"1", "a", smsapi.StateMigrateFail}, {"2", "a", smsapi.StateSyncFail}, {"3", "unregistered", smsapi.StateMigrateFail},
		{"4", "b", smsapi.StateMigrateFail}, {"5", "b", smsapi.StateRunning},
	} {
		task := newTask(c.id)
		task.Request.SourceServer.ID, task.Request.MigrationIP, task.Request.EnterpriseProjectID = c.source, "ip-"+c.id, "e-"+c.source
		change(t, db, func(tx *store.Tx) error {
			require.NoError(t, tx.CreateTask(task))
			task.State, task.ErrorJSON = c.state, "error-"+c.id
			return tx.SaveTask(task)
		})
	}
	view(t, db, func(tx *store.Tx) error {
		page, count, err := tx.FailedSources(smsapi.PageQuery{Limit: 10})
		require.NoError(t, err)
		require.Equal(t, 2, count, "one for each source, and none for a source that goes on")
		require.Equal(t, []string{"unregistered", "error-3", "", "ip-3"},
			[]string{page[0].SourceID, page[0].ErrorJSON, page[0].Name, page[0].Request.MigrationIP})
		require.Equal(t, []string{"a", "error-2", "name-a", "10.0.0.1", "host"},
			[]string{page[1].SourceID, page[1].ErrorJSON, page[1].Name, page[1].IP, page[1].Info.Name})
		page, count, err = tx.FailedSources(smsapi.PageQuery{Limit: 1, Offset: 1, EnterpriseProjectID: "e-a"})
		require.Empty(t, page)
		require.Equal(t, 1, count)
		return err
	})
}

func testProjects(t *testing.T, db *store.DB) {
	project := func(id string, isDefault bool) store.Project {
		return store.Project{ID: id, Body: smsapi.MigrationProject{Name: "n-" + id, IsDefault: isDefault}}
	}
	defaultID := func() string {
		var p store.Project
		_ = db.View(t.Context(), func(tx *store.Tx) (err error) {
			p, err = tx.DefaultProject()
			return err
		})
		return p.ID
	}
	require.Empty(t, defaultID())
	change(t, db, func(tx *store.Tx) error {
		for _, p := range []store.Project{project("a", false), project("b", true), project("c", true)} {
			require.NoError(t, tx.AddProject(p))
		}
		return nil
	})
	require.Equal(t, "c", defaultID(), "there is one default")
	change(t, db, func(tx *store.Tx) error { return tx.SaveProject(project("a", true)) })
	require.Equal(t, "a", defaultID())
	s := newSource("s")
	s.ProjectID = "b"
	addSource(t, db, s)
	view(t, db, func(tx *store.Tx) error {
		page, count, err := tx.Projects(smsapi.PageQuery{Limit: 2})
		require.Equal(t, 3, count)
		want := []store.Project{project("a", true), project("b", false)}
		want[1].Used = true
		require.Equal(t, want, page)
		return err
	})
	change(t, db, func(tx *store.Tx) error { return tx.SaveProject(project("a", false)) })
	require.Empty(t, defaultID())
	change(t, db, func(tx *store.Tx) error { return tx.DeleteProject("a") })
	for _, do := range []func(tx *store.Tx) error{
		func(tx *store.Tx) error { return tx.DeleteProject("a") },
		func(tx *store.Tx) error { return tx.SaveProject(project("a", true)) },
		func(tx *store.Tx) error { _, err := tx.Project("a"); return err },
	} {
		require.ErrorIs(t, db.Change(t.Context(), do), store.ErrNotFound)
	}
	require.Empty(t, defaultID(), "one that is not there does not become the default")
}

func testTemplates(t *testing.T, db *store.DB) {
	no := false
	a := store.Template{ID: "a", Body: smsapi.Template{Name: "n", Region: "r", AvailabilityZone: "z", IsTemplate: &no}, Password: []byte{0, 1}}
	b := store.Template{ID: "b", Body: smsapi.Template{Name: "n", Region: "r2"}}
	change(t, db, func(tx *store.Tx) error {
		require.NoError(t, tx.AddTemplate(a))
		return tx.AddTemplate(b)
	})
	for _, c := range []struct {
		query smsapi.TemplateQuery
		want  []store.Template
	}{
		{smsapi.TemplateQuery{}, []store.Template{b}}, // the one made for a task is not for others
		{smsapi.TemplateQuery{ID: "a"}, []store.Template{a}},
		{smsapi.TemplateQuery{Name: "n", Region: "r2"}, []store.Template{b}},
		{smsapi.TemplateQuery{AvailabilityZone: "z"}, nil},
	} {
		c.query.Limit = 10
		view(t, db, func(tx *store.Tx) error {
			page, count, err := tx.Templates(c.query)
			require.Equal(t, c.want, page)
			require.Equal(t, len(c.want), count)
			return err
		})
	}
	a.Body.Name = "new"
	change(t, db, func(tx *store.Tx) error {
		return tx.SaveTemplate(store.Template{ID: "a", Body: a.Body})
	})
	change(t, db, func(tx *store.Tx) error {
		got, err := tx.Template("a")
		require.NoError(t, err)
		require.Equal(t, a, got, "the password stays")
		got, err = tx.Template("b")
		require.NoError(t, err)
		require.Nil(t, got.Password)
		return tx.DeleteTemplate("a")
	})
	for _, do := range []func(tx *store.Tx) error{
		func(tx *store.Tx) error { return tx.DeleteTemplate("a") },
		func(tx *store.Tx) error { return tx.SaveTemplate(a) },
		func(tx *store.Tx) error { _, err := tx.Template("a"); return err },
	} {
		require.ErrorIs(t, db.Change(t.Context(), do), store.ErrNotFound)
	}
}

func testSettings(t *testing.T, db *store.DB) {
	for _, want := range []string{"", "one", "two"} {
		view(t, db, func(tx *store.Tx) error {
			got, err := tx.Setting("s")
			require.Equal(t, want, got)
			return err
		})
		next := map[string]string{"": "one", "one": "two", "two": "three"}[want]
		change(t, db, func(tx *store.Tx) error { return tx.SetSetting("s", next) })
	}
}
