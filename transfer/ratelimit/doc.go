// Package ratelimit holds a migration to its limit: one token bucket over all its connections, whatever they carry.
//
// A limit is a Schedule: one rate, or several by the time of day. The Bucket gives tokens for bytes in the order they were asked for,
// never more than 30 ms worth at once, so any window of two seconds is within 2 % of the limit (from 64 KiB/s up; below, a
// piece of 1 KiB shows). Time that a busy machine made a waiter oversleep is made up for within those 30 ms and lost beyond them: the limit
// errs on the low side. It counts what it is told; bytes that the kernel sends again or adds as headers are not among them.
//
// Rates are int64 bytes per second; 0 is no limit.
package ratelimit
