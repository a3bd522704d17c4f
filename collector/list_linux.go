package collector

// collectors is the list of what is collected on Linux, in the order in which results are filled in.
func collectors(o Options) []Collector {
	r := root(o.Root)
	stat := statfs
	if !r.isHost() {
		stat = nil
	}
	return []Collector{
		part{"host", collectHost(r)},
		part{"boot", collectBoot(r, o.Thorough)},
		part{"network", collectNetwork(r)},
		part{"storage", collectStorage(r)},
		part{"mounts", collectMounts(r, stat)},
	}
}
