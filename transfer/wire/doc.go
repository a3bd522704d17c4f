// Package wire carries a migration between source and target. This comment is the specification of the protocol, version 1.
//
// # Connections
//
// The source dials. One control connection opens a session; any number of data connections (at most MaxStreams) join it.
// Each is TCP with TLS 1.3 and the ALPN name "ferry"; both sides show a certificate with an Ed25519 key. Nothing in a
// certificate but its key is looked at: there is no authority, no name and no expiry. A peer is its key, and the key is
// known by the SHA-256 of its SubjectPublicKeyInfo (Fingerprint). Session tickets are off. A migration inside one process
// uses Local instead: the same frames and messages, without TLS, addresses and pairing.
//
// From TCP connect to the first message the target allows Options.Handshake; later, a side that hears nothing for
// Options.Idle takes the connection for dead. Each side therefore sends a ping when it wrote nothing for a third of that.
// Any error of the stream, a bad record included, ends the connection; nothing is resynchronised inside one.
//
// # Frames
//
// All that follows the handshake is frames: a header of 32 bytes, little endian, and a payload.
//
//	0  u32 length of the payload, at most MaxPayload
//	4  u32 length of the payload once decoded, at most MaxPayload; equal to the former with codec none
//	8  u8  type: 1 control, 2 operations, 3 listing, 4 ping, 5 measuring
//	9  u8  codec of the payload: 0 none, 1 s2, 2 zstd
//	10 u16 flags, zero in version 1
//	12 u32 CRC-32C of the 32 bytes with this field zero
//	16 u64 seq: operations frames of a session are numbered 1, 2, … over all connections; zero in other frames
//	24 u64 after: an operations frame may be applied once all frames up to this seq are; less than seq
//
// Control frames carry one message. Operations and listing frames carry what package file defines. Ping frames are empty
// and are not answered; they may come at any time. Measuring frames carry bytes that mean nothing, between measuring and measured. A control frame is never compressed and holds at most MaxMessage bytes.
//
// # Messages
//
// A message is the CBOR array [kind, body]: kind a text of 1 to 32 bytes, body anything. Tags, indefinite lengths, duplicate keys,
// text that is not UTF-8, nesting beyond 16, arrays beyond 65536 and maps beyond 4096 are refused; unknown map keys are ignored. Wire itself uses these kinds:
//
//	welcome {known}                                       target → source, first message of every TLS connection
//	prove {proof}                                         source → target, and back, when known is false
//	hello {min, max, features, software, body}            source → target, opens a session
//	ready {version, features, software, token, body}      target → source, answers hello
//	join {token, index}                                   source → target, opens a data connection
//	joined {}                                             target → source, answers join
//	measure {bytes, millis}                               source → target, asks to send so much for so long, without a session
//	measuring {bytes, millis}                             target → source, grants that or less; measuring frames follow
//	measured {bytes}                                      target → source, once all came or the time is over; the connection ends
//	refused {code, class, message, remedy}                either way, at any time, instead of anything else; the connection ends
//
// All others belong to the caller. welcome, prove, hello and refused keep their shape in every version, so that any two
// versions can tell each other why they part. Version is the highest both sides speak; without one the target refuses
// with FERRY-WIRE-VERSION and says which side to upgrade. Features are plain names; those both sides named hold.
// The token is 16 random bytes; a data connection shows it and must come from the key that opened the session.
//
// # Pairing
//
// A pairing code holds the target's fingerprint and a secret of 16 bytes (PairingCode has the text form). A source that does not know the
// key it is shown continues only if the fingerprint of a code says that key. A target that does not know the source's key says
// so in welcome and is then owed
//
//	HMAC-SHA256(secret, "ferry pairing source v1" || exporter || source fingerprint)
//
// where exporter is 32 bytes of RFC 8446 section 7.5 with the label "EXPORTER-ferry-pairing" and no context: a proof is worth nothing on
// another connection. The target makes the key known, durably, and answers the same with "ferry pairing target v1". The code is then bound
// to that key: the key may prove it again, any other is refused. Between peers that know each other no code is used.
//
// # What it guarantees, and what not
//
// Frames arrive whole, unaltered and in order within one connection, or the connection ends with an error. Cancelling or
// closing ends every wait at once, a throttled write included. A peer can make a side hold at most the frame being read
// and the buffers of the connection. The package does not reconnect, does not acknowledge frames, and does not compress:
// it carries what the codec made.
package wire
