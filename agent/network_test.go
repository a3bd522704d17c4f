package agent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

func TestNetworkCheck(t *testing.T) {
	n := collector.Network{
		Domains: []collector.Reach{{OK: true}, {OK: false}}, Target: collector.Reach{OK: true}, Delay: 3.5, Jitter: 20000, Loss: 10,
		Bandwidth: 125_000_000, CPU: 12, Memory: 101, Evaluation: "poor",
	}
	require.Equal(t, smsapi.NetworkCheck{
		DestinationConnectivity: true, NetworkDelay: 3.5, NetworkJitter: 10000, MigrationSpeed: 1000, LossPercentage: 10, CPUUsage: 12, MemUsage: 100,
		EvaluationResult: "critical",
	}, NetworkCheck(n))
	for _, word := range []string{"good", "medium", "poor"} {
		n = collector.Network{Target: collector.Reach{OK: true}, Evaluation: word}
		out := NetworkCheck(n)
		require.True(t, out.DomainConnectivity)
		require.GreaterOrEqual(t, len(out.EvaluationResult), 6)
		require.LessOrEqual(t, len(out.EvaluationResult), 8)
		body, err := json.Marshal(out)
		require.NoError(t, err)
		var back smsapi.NetworkCheck
		require.NoError(t, smsapi.Decode(body, &back))
	}
}
