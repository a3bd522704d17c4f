// Package e2e judges Ferry from outside: it runs the built binary on real filesystems and compares what arrived with
// tools that share no code with it.
//
// It holds tests only. Their parts live in rooms of their own, imported by nothing else:
//
//	lab      loop-mounted ext4, XFS and Btrfs and a tmpfs per test, always torn down
//	traps    trees made of everything a copy can get wrong, and changes that try to hide from a sync
//	dump     a metadata dump of a tree, written without a line of transfer
//	proxy    a TCP proxy that delays, cuts, corrupts, stalls and measures
//	proved   runs the tests, judges skips and makes docs/PROVED.md
//	bench    Ferry and its peers side by side
//
// Tests that need root, a filesystem or a tool skip and say which. mustrun.txt names those that continuous integration
// may not skip; features.txt says which test proves which feature, and what cannot be proved here.
package e2e
