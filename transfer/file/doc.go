// Package file is what source and target share at file level: what an entry of a tree is, how to read one, and how to say
// what the target has to do.
//
// # What is in it
//
//   - Entry, Meta and Identity: one path, what is carried of it, and what tells on the source that it is still the same.
//   - Op and its encoding: the operations of a session. Doing one again, after a cut at any point, ends in the same state.
//   - Walk and Dirs: a tree visited in one fixed order, in parallel, relative to directory descriptors.
//   - MetaReader: metadata of one inode, extended attributes, flags, project id and file handle included.
//   - The messages of a session (proto.go), which package wire carries.
//
// # What it guarantees
//
// Decoders take every byte as hostile: lengths are bounded, names stay names, paths stay below their root; nothing is
// allocated on the word of a peer. The walk follows no symbolic link, enters no other mount where it is told so, needs memory
// for a few thousand entries however large the tree, and leaves access times alone where it may.
//
// # What it does not
//
// It does not decide what is sent (package source) and does not write (package target). The walk sees a tree in use as it
// changes: an entry renamed meanwhile may be seen twice or not at all. Walking needs Linux.
package file
