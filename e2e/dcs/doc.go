// Package dcs tests migrations of Redis as users of the DCS API see them: real servers, a control plane and a migration machine as
// processes, which are killed in the middle. Redis' own DEBUG DIGEST is the judge. It holds tests only.
package dcs
