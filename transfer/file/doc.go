// Package file reads a tree of files on the source and says, operation by operation, what the target has to do.
package file
