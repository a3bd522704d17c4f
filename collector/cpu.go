package collector

import "github.com/shirou/gopsutil/v3/cpu"

// percentBusy says how busy the processors have been since the counters began, to a tenth of a percent.
func percentBusy(t cpu.TimesStat) float64 {
	total := t.User + t.System + t.Idle + t.Nice + t.Iowait + t.Irq + t.Softirq + t.Steal
	if total <= 0 {
		return 0
	}
	return float64(int((total-t.Idle-t.Iowait)/total*1000)) / 10
}
