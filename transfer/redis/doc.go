// Package redis migrates a Redis server to another one while it is in use.
//
// It acts as a replica of the source (PSYNC): a snapshot comes first and is put on the target key by key, as the payloads that RESTORE
// takes (see rdb); then the source's commands come, and are sent to the target in transactions of as many as came at once.
//
// # Where it is
//
// Each transaction also sets a key on the target, the mark: which place in the source's stream it ends at. So the target itself says what
// it has, whatever was killed or cut when, and no command is lost or carried out twice: after a break what is not covered is sent again.
// While nothing happens the mark is taken away, so that both data sets are equal; before that the place is written to the state directory, with
// the id of the target's process: a target that was started again without its mark has lost something. Before the next transaction the
// place in the state directory is crossed out. If the source no longer has the changes since that place, everything is copied again.
//
// A target that was empty at the beginning is ours: before another full copy it is emptied, so no stale key stays. In one that had keys,
// and only if that was asked for, nothing is removed that the source did not remove while it was followed.
//
// # What it promises
//
// Once it has caught up the target holds what the source holds: every database, type, expiry as a point in time, functions and scripts. Memory is bounded by what
// is under way and by the largest single command, not by the size of a value: large ones are built in pieces.
//
// What it does not promise: the target shows no consistent state during the full copy. Others who write to the target break it. Modules'
// data beside the keys is named as a loss, values of modules that the target does not have stop the migration. When consumers of streams
// were last seen is not kept for values built in pieces. Sources before 7.0 send relative expiries, which drift by the lag.
package redis
