// Package rdb reads Redis snapshots, versions 1 to 12, as a stream: from a file, or from a source in the middle of its replication.
//
// A snapshot is a list of keys, and a value has no length in front: to find its end one has to walk it. The Reader does that, and
// keeps the raw bytes of a value up to a limit. They are what RESTORE wants as a payload, once a version and a checksum are put
// behind them (Entry.AppendPayload), so most values move without being decoded. A value above the limit, or one that the target
// cannot restore, is decoded instead, piece by piece, into commands that build it (Reader.Commands): what was kept is read again,
// then the walk goes on in the stream. So memory is bounded by the limit and by the longest single element, whatever the value's size.
//
// The checksum at the end of the snapshot is verified, so bytes that were damaged on the way do not pass, unless the source was told
// to write none. The content of modules' values is passed on, not understood: such a value above the limit is ErrTooLarge.
//
// Formats follow rdb.h, rdb.c, ziplist.c, listpack.c, zipmap.c and t_stream.c of Redis 7.0, and rdb.c of 7.4 for hashes whose fields expire.
// A snapshot is hostile until proven otherwise: every length is checked against what is there.
package rdb
