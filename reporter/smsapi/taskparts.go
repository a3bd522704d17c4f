package smsapi

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// CertKey is the answer of GET /v3/tasks/{task_id}/certkey: what secures the task's data channel, all PEM. The keys are PKCS #8,
// encrypted with the passphrase of the task. The management and the data channel of the target have certificates of their own.
type CertKey struct {
	Cert                 string `json:"cert"` // the source's
	PrivateKey           string `json:"private_key"`
	CA                   string `json:"ca,omitempty"` // signed all three; absent where it was not asked for
	TargetMgmtCert       string `json:"target_mgmt_cert"`
	TargetMgmtPrivateKey string `json:"target_mgmt_private_key"`
	TargetDataCert       string `json:"target_data_cert"`
	TargetDataPrivateKey string `json:"target_data_private_key"`
}

// Passphrase is the answer of GET /v3/tasks/{task_id}/passphrase.
type Passphrase struct {
	TaskID     string `json:"task_id"`
	Passphrase string `json:"passphrase"`
}

// TaskID is the answer of POST /v3/{task_id}/update-network-check-info.
type TaskID struct {
	TaskID string `json:"task_id"`
}

// Consistency is the body of POST /v3/tasks/{task_id}/consistency-result: what came of a verification. It replaces the one before.
type Consistency struct {
	Results []ConsistencyResult `json:"consistency_result" rule:"required"`
}

// ConsistencyResult is what came of the verification of one directory.
type ConsistencyResult struct {
	Directory   string `json:"dir_check" rule:"required,max=1024"`
	Total       int32  `json:"num_total_files" rule:"required"`
	Different   int32  `json:"num_different_files" rule:"required"`
	TargetLacks int32  `json:"num_target_miss_files" rule:"required"`
	TargetExtra int32  `json:"num_target_more_files" rule:"required"`
}

// ConsistencyList is the answer of GET /v3/tasks/{task_id}/consistency-result: each result is a text, the JSON of a
// ConsistencyResult.
type ConsistencyList struct {
	Results []string `json:"result_list"`
	TaskID  string   `json:"task_id"`
}

// ExportConsistency is the body of POST /v3/tasks/consistency-results/export.
type ExportConsistency struct {
	Tasks []ExportedTask `json:"task_info" rule:"required"`
}

// ExportedTask names a task whose results are exported. Source id and name are only repeated in the export.
type ExportedTask struct {
	TaskID     string `json:"task_id"`
	SourceID   string `json:"source_id"`
	SourceName string `json:"source_name"`
}

// CollectLog is the body of POST /v3/tasks/{task_id}/log.
type CollectLog struct {
	Bucket string `json:"log_bucket" rule:"required,min=1,max=2048"` // where the agent puts the logs: see OwnBucket
	Expire int64  `json:"log_expire,omitempty"`                      // seconds; older documents only
}

// OwnBucket is the bucket that stands for Ferry's control plane itself. Of a command UPLOAD_LOG for it the object is a path: the
// agent sends the logs there, as the body of a PUT of at most MaxLogs bytes that it signs as any other request, and users fetch them
// with a GET of the same path.
//
// A bucket that is an https URL was signed beforehand by whoever gave it: the agent sends the logs there as they are, without a proof
// of its own. Any other one is a bucket of the vendor's object storage.
const OwnBucket = "ferry"

// MaxLogs is the largest bundle of logs that the control plane takes, in bytes.
const MaxLogs = 16 << 20

// LogStatus says how far the collection of a task's logs is.
type LogStatus string

// The states of a log collection.
const (
	LogInit      LogStatus = "INIT" // never asked for
	LogUploading LogStatus = "UPLOADING"
	LogFailed    LogStatus = "UPLOAD_FAIL"
	LogUploaded  LogStatus = "UPLOADED"
)

// SplitIDs returns the ids of a list that is separated by spaces.
func SplitIDs(list string) []string { return strings.Fields(list) }

func checkIDs(field string, ids []string) error {
	for _, id := range ids {
		if utf8.RuneCountInString(id) > maxText {
			return invalid("%s: an id is longer than %d characters", field, maxText)
		}
	}
	return nil
}

// ParseCertKeyQuery reads the query of GET /v3/tasks/{task_id}/certkey: whether the certificate of the authority is asked for. It is,
// unless somebody says that it is not.
func ParseCertKeyQuery(v url.Values) (withCA bool, err error) {
	asked, err := boolean(v, "enable_ca_cert")
	return asked == nil || *asked, err
}

// ParseConfigQuery reads the query of GET /v3/tasks/{task_id}/configuration-setting: the one option that is asked for, or "" for all.
func ParseConfigQuery(v url.Values) (ConfigKey, error) {
	key := ConfigKey(v.Get("config_key")).Canonical()
	if key != "" && !key.Known() {
		return "", invalid("config_key: %q is not a documented value", trim(string(key), 40))
	}
	return key, nil
}

// ShownSettings is the answer of GET /v3/tasks/{task_id}/configuration-setting.
type ShownSettings struct {
	TaskID         string   `json:"task_id"`
	MigrateType    string   `json:"migrate_type"` // see MigrateType
	Configurations []Config `json:"configurations"`
}
