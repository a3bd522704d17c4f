// Package disks tries `ferry target --into disks` from end to end: the plan of found disks, its script, the disks laid out, files received onto them.
package disks
