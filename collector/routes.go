package collector

import (
	"sort"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// gateways gives each interface its default gateway, marks the primary one and puts it first.
func gateways(nics []inventory.NIC, routes []inventory.Route) {
	best := -1
	var bestMetric int64
	for _, want := range []string{"0.0.0.0/0", "::/0"} {
		for _, rt := range routes {
			if rt.Destination != want {
				continue
			}
			for i := range nics {
				if nics[i].Name != rt.Interface {
					continue
				}
				if nics[i].Gateway == "" {
					nics[i].Gateway = rt.Gateway
				}
				if best < 0 || want == "0.0.0.0/0" && rt.Metric < bestMetric {
					best, bestMetric = i, rt.Metric
				}
			}
		}
	}
	if best >= 0 {
		nics[best].Primary = true
	}
	sort.SliceStable(nics, func(i, j int) bool { return nics[i].Primary && !nics[j].Primary })
}
