package rdb

import "fmt"

// Type says how a value is written in a snapshot.
type Type byte

// The types, by their numbers in a snapshot.
const (
	String            Type = 0
	List              Type = 1
	Set               Type = 2
	ZSet              Type = 3
	Hash              Type = 4
	ZSet2             Type = 5
	Module            Type = 6
	Module2           Type = 7
	HashZipmap        Type = 9
	ListZiplist       Type = 10
	SetIntset         Type = 11
	ZSetZiplist       Type = 12
	HashZiplist       Type = 13
	ListQuicklist     Type = 14
	StreamListpacks   Type = 15
	HashListpack      Type = 16
	ZSetListpack      Type = 17
	ListQuicklist2    Type = 18
	StreamListpacks2  Type = 19
	SetListpack       Type = 20
	StreamListpacks3  Type = 21
	HashMetadataPre   Type = 22 // of release candidates of 7.4
	HashListpackExPre Type = 23
	HashMetadata      Type = 24
	HashListpackEx    Type = 25
)

// types says of each type what TYPE answers, and the version of snapshots that brought it.
var types = map[Type]struct {
	kind    string
	version int
}{
	String: {"string", 1}, List: {"list", 1}, Set: {"set", 1}, ZSet: {"zset", 1}, Hash: {"hash", 2}, ZSet2: {"zset", 8},
	Module2: {"module", 8}, HashZipmap: {"hash", 2}, ListZiplist: {"list", 2}, SetIntset: {"set", 2}, ZSetZiplist: {"zset", 2},
	HashZiplist: {"hash", 4}, ListQuicklist: {"list", 7}, StreamListpacks: {"stream", 9}, HashListpack: {"hash", 10},
	ZSetListpack: {"zset", 10}, ListQuicklist2: {"list", 10}, StreamListpacks2: {"stream", 10}, SetListpack: {"set", 11},
	StreamListpacks3: {"stream", 11}, HashMetadataPre: {"hash", 12}, HashListpackExPre: {"hash", 12}, HashMetadata: {"hash", 12},
	HashListpackEx: {"hash", 12},
}

// MaxVersion is the newest version of snapshots that is understood; 7.4 writes it.
const MaxVersion = 12

// Kind is what the command TYPE answers for such a value: string, list, set, zset, hash or stream; module for a module's.
func (t Type) Kind() string { return types[t].kind }

// Version is the oldest version of snapshots that has the type: a server that reads that version can restore the value.
func (t Type) Version() int { return types[t].version }

// String names the type for a person.
func (t Type) String() string {
	if k := t.Kind(); k != "" {
		return fmt.Sprintf("%s (type %d)", k, byte(t))
	}
	return fmt.Sprintf("type %d", byte(t))
}
