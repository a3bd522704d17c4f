package agent

import (
	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// evaluations are the words for evaluation_result. No document names them; one says that they have 6 to 8 characters, a newer one 5 to 9,
// and the console shows three colours. These fit both.
var evaluations = map[string]string{"good": "healthy", "medium": "medium", "poor": "critical"}

// NetworkCheck says of a measured way to a target what POST /v3/{task_id}/update-network-check-info asks. Delay and jitter are milliseconds,
// the speed is Mbit/s, the rest percent; all stay within the bounds of the API. Without domains to try, they count as reached.
func NetworkCheck(n collector.Network) smsapi.NetworkCheck {
	out := smsapi.NetworkCheck{
		DomainConnectivity: true, DestinationConnectivity: n.Target.OK,
		NetworkDelay: within(n.Delay, 10000), NetworkJitter: within(n.Jitter, 10000), MigrationSpeed: smsapi.Mbps(n.Bandwidth),
		LossPercentage: within(n.Loss, 100), CPUUsage: within(n.CPU, 100), MemUsage: within(n.Memory, 100),
		EvaluationResult: evaluations[n.Evaluation],
	}
	for _, d := range n.Domains {
		out.DomainConnectivity = out.DomainConnectivity && d.OK
	}
	return out
}

func within(v, most float64) float64 { return min(max(v, 0), most) }
