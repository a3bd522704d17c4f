package controller

import "time"

// SetHeaderTimeout shortens what a slow client is given, for servers that start before the returned function is called.
func SetHeaderTimeout(d time.Duration) (restore func()) {
	before := headerTimeout
	headerTimeout = d
	return func() { headerTimeout = before }
}
