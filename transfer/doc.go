// Package transfer moves bytes from a source to a target. It knows no task, no API and no policy.
package transfer
