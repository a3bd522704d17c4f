// Package resp speaks the Redis protocol (RESP2, https://redis.io/docs/reference/protocol-spec/) on a connection.
//
// A Reader takes replies, and the commands of a replication stream with their raw bytes, so that a command can be passed on as it came
// and counted as the source counts its offset. Append functions write commands into a buffer. A Conn joins both with a socket: TCP or
// Unix, TLS, a user of the access list, a timeout for silence, counters and a limit.
//
// What a peer sends is bounded: lengths, numbers of elements and depth; memory for a long string grows as its bytes arrive, never by
// its announced length. RESP3 is not spoken: no HELLO is sent, so no server answers in it.
package resp
