// Package track says what was written to a block device since the last pass.
package track
