// Package traps builds trees made of everything a copy can get wrong.
//
// Each trap fills a directory of its own below the root, named after it, so that a difference says which one it fell into.
// A trap that a filesystem cannot hold is left out there, and For says which ones remain.
package traps
