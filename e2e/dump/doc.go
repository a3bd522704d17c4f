// Package dump writes down everything that can be seen of a tree, so that two trees can be compared.
//
// It is a second opinion: it shares no code with the copier, keeps everything in memory and knows no shortcut. It works
// relative to directory descriptors, so paths may be longer than a path may be, and it reads without touching access times.
//
// Not told apart: the size and link count of a directory, the access time of a symbolic link (reading it moves it), flags a
// filesystem sets for itself. Mount points are crossed.
package dump
