// Package block tries block-level migrations from end to end: the binary as it is shipped, real filesystems, and the tools of each as
// foreign judges.
package block
