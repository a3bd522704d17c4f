// Package support is for the engineer whom a migration's owner calls: what an error code means (Lookup), what a state directory holds
// (Describe), one archive of all that is needed to find out what went wrong (WriteBundle), and what probably did (Explain).
//
// It reads files and changes none. It works beside a running agent, beside one that hangs, and without any: what cannot be read is named
// in the bundle's manifest instead. Secrets do not get into a bundle: keys, certificates, databases and pairings are left out by name,
// and what is left in has passwords, keys, tokens and pairing codes blotted out line by line (see Redact). Nothing that was migrated is
// in it, but names of files, disks and hosts are.
//
// codes.json and docs/ERRORS.md are made from the code by this package's test: go test ./agent/support -run TestCodes -update
package support
