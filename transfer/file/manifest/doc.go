// Package manifest is the source's durable memory of what the target holds: one line per path, digests of the content.
//
// # How it works
//
// A manifest is a file of entries (file.Entry) in the order of the walk (file.ComparePath); a regular file larger than one chunk is
// followed by runs of chunk digests. A pass writes one called `next` while it walks, before the operations it describes
// are sent, and it becomes `base` when the pass commits. A crash leaves `base` and a prefix of `next`; Store merges both, and
// what the target acknowledged, into a new base that claims no more than is certain.
//
// Everything streams: writing, reading and merging take constant memory for any number of entries. The one thing that grows is
// the optional index by inode (Inodes), 16 bytes for each file, bounded.
//
// # What it guarantees
//
//   - What a reader returns is what a writer wrote, or it returns ErrDamaged: every byte is under a checksum, every length is
//     bounded, paths are valid and ascend.
//   - An unfinished file reads cleanly up to its last whole block. A tail torn by a crash is told from damage: each block says
//     how much of the file was durable when it was written, so a bad block below that mark is damage.
//   - A recovered base never says the target holds something that it may not hold. It may say less; then more is sent again.
//
// It does not protect against somebody who can write the state directory and means harm: the checksums are not secret.
// It does not check that a target really holds what it acknowledged; verify does.
//
// # What a pass has to do
//
//   - Append an entry, and the digests of chunks, before the frame with their operations is sent; EndBlock(seq) at the
//     end of the frame or before, seq being the frame's number, where every operation of every entry in the block is in frames up to seq; SyncTo(seq) before the frame
//     leaves. For a file larger than one chunk this holds for OpBegin and the entry, and for each run of digests and its extents; its
//     OpEnd may come later, but before the entry that follows ends its block.
//   - Mark an entry StateSent if anything of it is sent. Add StatePartial if a larger file is changed in place or as a copy
//     (HowInPlace, HowCopy) and base's digests of chunks not yet appended stay true; without it they are forgotten
//     after a crash. A chunk whose content the pass changes needs a run, with a known digest.
//   - An entry it could not look at is carried over from base, with its digests and without StateSent: it stays what it was.
//   - Mark a hard link that has to be made again StateRelink. It stays uncertain until the pass commits.
//   - BeginDeletes before the first OpDelete, after the last entry.
//   - Acked(seq) on the store when the target says that all frames up to seq are durable; Commit after the last.
//
// # File format, version 1
//
// All numbers are little endian. CRC is CRC-32C (Castagnoli).
//
//	file    = prefix header block*
//	prefix  = "FERRYMAN" version:u16 0:u16 length:u32 crc:u32       crc of the 16 bytes before and the header; the same in every version
//	header  = CBOR map of length bytes: Header and a random id of the file
//	block   = magic:"FMBk" kind:u8 codec:u8 0:u16 payload:u32 raw:u32 seq:u64 durable:u64 pcrc:u32 hcrc:u32 payload
//
// payload and raw are the lengths of the payload as stored and decoded; pcrc is the CRC of the payload; hcrc that of the
// block's first 36 bytes, followed by the file's id and the block's offset in the file (u64), so that a stale block of another file
// or place is not taken for one of this. codec is 0 (stored) or 1 (S2 block format). durable is how many bytes of the file were synced when the
// block was written. seq never decreases. kind is one of
//
//	1 more     records; its seq is that of the next block of another kind (the field is 0)
//	2 records  records; true of the target once all frames up to seq are durable there
//	3 deletes  no payload; the entries are complete, and deletes may have been sent
//	4 footer   the last block: entries, bytes, 8 counts by kind (u64 each), 32 bytes of BLAKE3 over the first 40 bytes of all blocks before
//
// records is a run of
//
//	1 entry              as file.AppendEntry writes it; the path prefix starts anew in each block
//	2 first count digest*  digests of the chunks first, first+1, … (uvarints, then 16 bytes each) of the entry before;
//	                     runs of one entry ascend; what they leave out is unknown
package manifest
