// Package transfer is the mechanism of a migration: it moves bytes from a source to a target, and knows no task, no API and no
// policy.
//
// This package holds only what all of it shares with those who watch: Progress. The rooms below it follow the data:
//
//	source    walks, compares with what the target is known to hold, reads, records, sends
//	chunk     cuts content and names it by digest
//	codec     compresses, and decides how hard to try
//	ratelimit holds the wire to its limit
//	wire      frames between two peers that know each other
//	target    applies, syncs, acknowledges, compares
//	file      what both sides share at file level: entries, operations, the walk, metadata
//	extent    byte ranges: which lie in which, what is left of them
//	allocmap  says which ranges of a disk are in use, from the disk itself
//
// An agent plans and a controller watches; neither is imported here.
package transfer
