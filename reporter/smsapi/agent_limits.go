package smsapi

// LimitWindows is the answer of GET /v3/tasks/{task_id}/speed-limit as an agent reads it.
type LimitWindows struct {
	Windows []LimitWindow `json:"speed_limit"`
}

// LimitWindow is a limit for a part of each day.
type LimitWindow struct {
	Start     string  `json:"start"`                // HH:MM
	End       string  `json:"end"`                  // HH:MM
	Speed     int     `json:"speed"`                // Mbit/s, 0 = none
	Threshold float64 `json:"over_speed_threshold"` // percent above the limit that pauses the task; 0 = none
}

// TaskSettings is the answer of GET /v3/tasks/{task_id}/configuration-setting as an agent reads it.
type TaskSettings struct {
	Items []Config `json:"configurations"`
}
