// Package dcsapi holds the wire types of the Huawei Cloud DCS v2 API for migrations of Redis, and of the one operation that Ferry adds
// to it, by which migration machines work. The API's spellings and units live only here.
//
// A migration task is of one of two types. An online migration follows a source as its replica; a backup import puts files on the target.
// An online one is made in two ways: as a migration machine that is configured later (RUNNING, which means to be configured), or at once.
//
//	RUNNING ──configured──► MIGRATING ──► FULLMIGRATING ──► SUCCESS                      full_amount_migration
//	                                                    └─► INCRMIGEATING (sic)          incremental_migration, until stopped
//	                        MIGRATING ──► SUCCESS, FAILED                                backupfile_import
//	MIGRATING, FULLMIGRATING, INCRMIGEATING ──stop──► TERMINATING ──► TERMINATED
//	… ──error──► MIGRATION_FAILED;  TERMINATED, MIGRATION_FAILED ──restart or configured anew──► MIGRATING
//	anything that ended ──its machine is gone──► RELEASED
//
// The documents contradict each other and leave things open. Decided here:
//   - an online migration that fails is MIGRATION_FAILED, a backup import FAILED;
//
// XX
//   - an instance is named by addrs, else by ip and port, else by an id that is itself an address: there are no cloud instances here;
//     addrs may also be a URL as `ferry redis` takes it, for TLS and sentinels;
//   - a db that is named limits a migration to it; none means all databases under their own numbers;
//   - bandwidth_limit_mb counts MiB a second;
//   - times are UTC; updated_at is the last change of the status, so when it ended if it has;
//   - a bucket_name that is an http or https URL is where the files lie, for stores that ask for no signature; a file_name may be such a
//     URL too, signed beforehand if need be.
//
// Requests are checked by smsapi.Decode, by the `rule` tags, and by a method Check where rules span fields. It uses the standard library
// only and guarantees nothing about what a value means to the service.
package dcsapi
