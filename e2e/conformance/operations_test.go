package conformance

// An operation is one of the 49 of the SMS v3 API: how the documents write it, and a request that succeeds, as JSON of the SDK's request
// type. {name} stands for what an earlier operation saved.
type operation struct {
	name, method, path string
	request            string
	save, as           string   // field of the answer that later requests need, and what they call it
	shows              []string // what the answer must show: JSON texts
	agent              bool     // one that agents call
	status             int      // of a success; 0 means 200
}

const (
	disk = `{"name":"/dev/vda","partition_style":"MBR","device_use":"BOOT","size":42949672960,"used_size":5346484224,"physical_volumes":[
		{"name":"/dev/vda1","device_use":"OS","file_system":"ext4","index":0,"mount_point":"/","size":42947575808,"used_size":5346484224,"uuid":"u"}]}`
	group = `{"name":"vg0","components":"/dev/vdb1","free_size":0,"size":1073741824,"logical_volumes":[{"name":"lv0","file_system":"xfs",
		"inode_size":0,"mount_point":"/data","size":1073741824,"used_size":1,"free_size":1073741823,"block_count":1,"block_size":4096}]}`
	btrfs = `{"name":"b","label":"","uuid":"u","device":"/dev/vdc","size":1,"nodesize":16384,"sectorsize":4096,"data_profile":"single",
		"system_profile":"DUP","metadata_profile":"DUP","global_reserve1":"0","g_vol_used_size":1,"default_subvolid":"5",
		"default_subvol_name":"/","default_subvol_mountpath":"/b","subvolumn":[{"uuid":"u","is_snapshot":"false","subvol_id":"256",
		"parent_id":"5","subvol_name":"s","subvol_mount_path":"/b/s"}]}`
	network = `{"name":"eth0","ip":"192.168.0.1","netmask":"255.255.255.0","gateway":"192.168.0.254","mtu":1500,"mac":"{mac}"}`
	source  = `{"body":{"ip":"192.168.0.1","name":"source","hostname":"host","os_type":"LINUX","os_version":"DEBIAN_12_64BIT","firmware":"BIOS",
		"cpu_quantity":2,"memory":4096,"disks":[` + disk + `],"btrfs_list":[],"networks":[` + network + `],"has_rsync":true,"paravirtualization":false,
		"raw_devices":"","boot_loader":"GRUB","volume_groups":[],"agent_version":"25.5.0","kernel_version":"6.1","start_type":"MANUAL",
		"io_read_wait":1.5,"has_tc":true,"platform":"other"}}`
	task = `{"body":{"name":"task","type":"MIGRATE_FILE","os_type":"LINUX","start_target_server":true,"region_name":"r","region_id":"r",
		"project_name":"p","project_id":"p","priority":1,"use_public_ip":true,"migration_ip":"192.168.0.2","syncing":true,"exist_server":true,
		"speed_limit":0,"over_speed_threshold":10.5,"source_server":{"id":"{source}"},"target_server":{"name":"target","vm_id":"vm","disks":[` + disk + `],
		"volume_groups":[` + group + `],"btrfs_list":[` + btrfs + `]}}}`
	project = `"name":"project-{run}","description":"d","isdefault":false,"region":"r","start_target_server":true,"speed_limit":10,"use_public_ip":true,
		"exist_server":true,"type":"MIGRATE_FILE","syncing":false,"start_network_check":false`
	template = `"name":"template-{run}","is_template":true,"region":"r","projectid":"p","target_server_name":"t","availability_zone":"a","volumetype":"SAS",
		"flavor":"f","vpc":{"id":"autoCreate","name":"n","cidr":"192.168.0.0/16"},"nics":[{"id":"autoCreate","name":"n","cidr":"192.168.0.0/16"}],
		"security_groups":[{"id":"autoCreate","name":"n"}],"publicip":{"type":"5_bgp","bandwidth_size":5},
		"disk":[{"index":0,"name":"d","disktype":"SAS","size":40,"device_use":"OS"}],"data_volume_type":"SAS","target_password":"Secret-1","image_id":"i"`
	progress = `"subtask_name":"MIGRATE_LINUX_FILE","progress":40,"replicatesize":4000,"totalsize":10000,"process_trace":"","migrate_speed":12.5,
		"compress_rate":60.5,"remain_time":9,"total_cpu_usage":50,"agent_cpu_usage":5,"total_mem_usage":100,"agent_mem_usage":10,
		"total_disk_io":1,"agent_disk_io":1,"need_migration_test":false,"agent_time":"12:00"`
	check = `"domain_connectivity":true,"destination_connectivity":true,"network_delay":1,"network_jitter":1,"migration_speed":100,
		"loss_percentage":0,"cpu_usage":1,"mem_usage":1,"evaluation_result":"medium"`
)

// operations are in the order of a migration: each works on what those before it made.
var operations = []operation{
	{name: "ListApiVersion", method: "GET", path: "/", request: `{}`, shows: []string{`"id":"v3"`, `"status":"SUPPORTED"`}},
	{name: "ShowApiVersion", method: "GET", path: "/{version}", request: `{"version":"v3"}`, shows: []string{`"id":"v3"`}},
	{name: "ShowConfig", method: "GET", path: "/v3/config", request: `{}`, shows: []string{`"regions":[`, `"mainRegion"`}, agent: true},
	{name: "CreatePrivacyAgreements", method: "POST", path: "/v3/privacy-agreements", request: `{}`, agent: true},
	{name: "ShowPrivacyAgreements", method: "GET", path: "/v3/privacy-agreements", request: `{}`, shows: []string{`"flag":true`}, agent: true},

	{name: "CreateMigproject", method: "POST", path: "/v3/migprojects", request: `{"body":{` + project + `}}`, save: "id", as: "project"},
	{name: "ListMigprojects", method: "GET", path: "/v3/migprojects", request: `{"limit":50,"offset":0}`, shows: []string{`"{project}"`, `"count":`}},
	{name: "UpdateMigproject", method: "PUT", path: "/v3/migprojects/{mig_project_id}", request: `{"mig_project_id":"{project}","body":{` + project + `,"description":"new"}}`},
	{name: "ShowMigproject", method: "GET", path: "/v3/migprojects/{mig_project_id}", request: `{"mig_project_id":"{project}"}`, shows: []string{`"description":"new"`, `"speed_limit":10`}},
	{name: "UpdateDefaultMigproject", method: "PUT", path: "/v3/migprojects/{mig_project_id}/default", request: `{"mig_project_id":"{project}"}`},

	{name: "CreateTemplate", method: "POST", path: "/v3/vm/templates", request: `{"body":{"template":{` + template + `}}}`, save: "id", as: "template"},
	{name: "ListTemplates", method: "GET", path: "/v3/vm/templates", request: `{"name":"template-{run}","region":"r","availability_zone":"a","limit":50,"offset":0}`,
		shows: []string{`"count":1`, `"{template}"`}},
	{name: "UpdateTemplate", method: "PUT", path: "/v3/vm/templates/{id}", request: `{"id":"{template}","body":{"template":{` + template + `,"flavor":"g"}}}`},
	{name: "ShowTemplate", method: "GET", path: "/v3/vm/templates/{id}", request: `{"id":"{template}"}`, shows: []string{`"flavor":"g"`, `"size":40`}},
	{name: "ShowTargetPassword", method: "GET", path: "/v3/vm/templates/{id}/target-password", request: `{"id":"{template}"}`, shows: []string{`"target_password":"Secret-1"`}},

	{name: "RegisterServer", method: "POST", path: "/v3/sources", request: source, save: "id", as: "source", agent: true},
	{name: "ListServers", method: "GET", path: "/v3/sources", request: `{"id":"{source}","state":"waiting","migproject":"{project}","limit":0,"offset":0,"connected":true}`,
		shows: []string{`"count":1`, `"{source}"`, `"os_version":"DEBIAN_12_64BIT"`}},
	{name: "UpdateDiskInfo", method: "PUT", path: "/v3/sources/{source_id}/diskinfo",
		request: `{"source_id":"{source}","body":{"disks":[` + disk + `],"volumegroups":[` + group + `],"btrfs_list":[` + btrfs + `]}}`, agent: true},
	{name: "UpdateServerName", method: "PUT", path: "/v3/sources/{source_id}", request: `{"source_id":"{source}","body":{"name":"renamed","migprojectid":"{project}"}}`},
	{name: "ShowServer", method: "GET", path: "/v3/sources/{source_id}", request: `{"source_id":"{source}"}`,
		shows: []string{`"name":"renamed"`, `"memory":4096`, `"vg0"`, `"state":"waiting"`}, agent: true},
	{name: "ShowOverview", method: "GET", path: "/v3/sources/overview", request: `{}`, shows: []string{`"waiting":`}},

	{name: "CreateTask", method: "POST", path: "/v3/tasks", request: task, save: "id", as: "task"},
	{name: "ListTasks", method: "GET", path: "/v3/tasks", request: `{"source_server_id":"{source}","state":"READY","limit":200,"offset":0}`,
		shows: []string{`"count":1`, `"{task}"`, `"state":"READY"`}},
	{name: "UpdateTask", method: "PUT", path: "/v3/tasks/{task_id}", request: `{"task_id":"{task}","body":{"name":"changed","speed_limit":100}}`, shows: []string{`"{task}"`}, agent: true},
	{name: "ShowTask", method: "GET", path: "/v3/tasks/{task_id}", request: `{"task_id":"{task}"}`,
		shows: []string{`"name":"changed"`, `"speed_limit":100`, `"SSL_CONFIG"`, `"MIGRATE_LINUX_FILE"`, `"vg0"`}, agent: true},
	{name: "UpdateSpeed", method: "POST", path: "/v3/tasks/{task_id}/speed-limit",
		request: `{"task_id":"{task}","body":{"speed_limit":[{"start":"00:00","end":"23:59","speed":1000,"over_speed_threshold":10}]}}`},
	{name: "ShowsSpeedLimits", method: "GET", path: "/v3/tasks/{task_id}/speed-limit", request: `{"task_id":"{task}"}`, shows: []string{`"start":"00:00"`, `"speed":1000`}, agent: true},
	{name: "UploadSpecialConfigurationSetting", method: "POST", path: "/v3/tasks/{task_id}/configuration-setting",
		request: `{"task_id":"{task}","body":{"configurations":[{"config_key":"MIGRATE_EXCLUDE_DIR","config_value":"/tmp"}]}}`, agent: true},
	{name: "ShowConfigSetting", method: "GET", path: "/v3/tasks/{task_id}/configuration-setting", request: `{"task_id":"{task}","config_key":"MIGRATE_EXCLUDE_DIR"}`,
		shows: []string{`"config_value":"/tmp"`, `"migrate_type":"LINUX_MIGRATE_FILE"`}, agent: true},
	{name: "ShowCertKey", method: "GET", path: "/v3/tasks/{task_id}/certkey", request: `{"task_id":"{task}","enable_ca_cert":true}`,
		shows: []string{`"cert":"-----BEGIN CERTIFICATE`, `"private_key":"-----BEGIN`, `"ca":"-----BEGIN CERTIFICATE`, `"target_data_cert":"-----BEGIN`}, agent: true},
	{name: "ShowPassphrase", method: "GET", path: "/v3/tasks/{task_id}/passphrase", request: `{"task_id":"{task}"}`, shows: []string{`"task_id":"{task}"`, `"passphrase":"`}, agent: true},

	{name: "UpdateTaskStatus", method: "POST", path: "/v3/tasks/{task_id}/action", request: `{"task_id":"{task}","body":{"operation":"start"}}`},
	{name: "ShowCommand", method: "GET", path: "/v3/sources/{server_id}/command", request: `{"server_id":"{source}"}`,
		shows: []string{`"command_name":"START"`, `"task_id":"{task}"`}, agent: true},
	{name: "UpdateCommandResult", method: "POST", path: "/v3/sources/{server_id}/command_result",
		request: `{"server_id":"{source}","body":{"command_name":"START","result":"success","result_detail":{"k":"v"}}}`, agent: true},
	{name: "UpdateCopyState", method: "PUT", path: "/v3/sources/{source_id}/changestate",
		request: `{"source_id":"{source}","body":{"copystate":"replicate","migrationcycle":"replicating"}}`, agent: true},
	{name: "UpdateTaskSpeed", method: "PUT", path: "/v3/tasks/{task_id}/progress", request: `{"task_id":"{task}","body":{` + progress + `}}`, agent: true},
	{name: "UpdateNetworkCheckInfo", method: "POST", path: "/v3/{task_id}/update-network-check-info", request: `{"task_id":"{task}","body":{` + check + `}}`,
		shows: []string{`"task_id":"{task}"`}, agent: true},
	{name: "UpdateConsistencyResult", method: "POST", path: "/v3/tasks/{task_id}/consistency-result",
		request: `{"task_id":"{task}","body":{"consistency_result":[{"dir_check":"/data","num_total_files":9,"num_different_files":1,"num_target_miss_files":2,
		"num_target_more_files":3}]}}`, agent: true},
	{name: "ShowConsistencyResult", method: "GET", path: "/v3/tasks/{task_id}/consistency-result", request: `{"task_id":"{task}"}`, shows: []string{`/data`, `"{task}"`}},
	{name: "ExportConsistencyResults", method: "POST", path: "/v3/tasks/consistency-results/export",
		request: `{"body":{"task_info":[{"task_id":"{task}","source_id":"{source}","source_name":"renamed"}]}}`, shows: []string{`/data`}},
	{name: "CollectLog", method: "POST", path: "/v3/tasks/{task_id}/log", request: `{"task_id":"{task}","body":{"log_bucket":"bucket"}}`},
	{name: "ListErrorServers", method: "GET", path: "/v3/errors", request: `{"limit":100,"offset":0}`, shows: []string{`"count":`}},

	{name: "DeleteTask", method: "DELETE", path: "/v3/tasks/{task_id}", request: `{"task_id":"{idle}"}`},
	{name: "DeleteTasks", method: "POST", path: "/v3/tasks/delete", request: `{"body":{"ids":["{idle2}"]}}`},
	{name: "DeleteServer", method: "DELETE", path: "/v3/sources/{source_id}", request: `{"source_id":"{spare}"}`},
	{name: "DeleteServers", method: "POST", path: "/v3/sources/delete", request: `{"body":{"ids":["{spare2}"]}}`},
	{name: "DeleteTemplate", method: "DELETE", path: "/v3/vm/templates/{id}", request: `{"id":"{template}"}`},
	{name: "DeleteTemplates", method: "POST", path: "/v3/vm/templates/delete", request: `{"body":{"ids":["{template2}"]}}`},
	{name: "DeleteMigproject", method: "DELETE", path: "/v3/migprojects/{mig_project_id}", request: `{"mig_project_id":"{project2}"}`},
}
