// Package consistent proves that a copy made with --snapshot is one instant of a source that is written to all the while: a SQLite database
// that passes its integrity check and holds what was committed before, and two files that are only ever one write apart.
package consistent
