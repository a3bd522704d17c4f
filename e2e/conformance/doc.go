// Package conformance drives Ferry's control plane with the vendor's own Go SDK, as a stranger would.
//
// It is a module of its own, so that the SDK never enters the agent, and it knows Ferry only as a program: it builds the binary, starts
// `ferry controller`, reads where that listens and which key it made, and calls. All 49 operations of the SMS v3 API are in one table;
// every method of the SDK's client must be in it. Another one has those of the DCS v2 API on migrations of Redis. Each is called with a signature and with a token, then with a wrong secret, a wrong
// clock and an unknown id, and with what the documents say is the edge of a range and one beyond. The OpenAPI document is checked by
// a library that others wrote.
//
// It proves that requests and answers are what the SDK sends and reads. It does not prove that the vendor's service does the same.
package conformance
