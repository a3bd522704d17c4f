package reporter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// The service's own codes for what goes wrong between an agent and it; its console explains them.
const (
	codeBusy       = "SMS.0201" // the network is busy, the service cannot be reached
	codeKey        = "SMS.0202" // authentication failed
	codeTimeout    = "SMS.0203" // the connection timed out
	codePermission = "SMS.0204"
	codeClock      = "SMS.0205"
	codeExpired    = "SMS.0219" // a temporary credential expired
	codeDomain     = "SMS.0303" // the name cannot be resolved
	codeTLS        = "SMS.0304"
)

// APIError is an answer of the service that is not a success.
type APIError struct {
	Status     int    // HTTP
	Code       string // error_code, if the body had one
	Message    string // error_msg, else the start of the body
	RequestID  string
	RetryAfter time.Duration // what the service asks for; 0 if it does not
}

// Error returns message, code and status.
func (e *APIError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s (%s, HTTP %d)", e.Message, e.Code, e.Status))
}

// NetworkError is what kept a request from being answered at all.
type NetworkError struct {
	Code string // the service's code for it, such as SMS.0303
	Err  error
}

// Error returns the message of the wrapped error.
func (e *NetworkError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *NetworkError) Unwrap() error { return e.Err }

// IsGone reports whether err says that the thing asked for does not exist. A 404 without the API's own words does not: that is
// how anything answers that stands in the way.
func IsGone(err error) bool {
	var e *APIError
	return errors.As(err, &e) && e.Status == http.StatusNotFound && e.Code != ""
}

// RetryAfter returns how long the service asks to be left alone, 0 if err does not say.
func RetryAfter(err error) time.Duration {
	var e *APIError
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// SMSCode returns the service's code for what a call failed with, "" if it has none.
func SMSCode(err error) string {
	var network *NetworkError
	var refused *APIError
	switch {
	case errors.As(err, &network):
		return network.Code
	case !errors.As(err, &refused):
		return ""
	case fault.CodeOf(err) == "FERRY-CLOCK":
		return codeClock
	case fault.CodeOf(err) == "FERRY-CREDENTIAL-EXPIRED":
		return codeExpired
	case strings.HasPrefix(refused.Code, "SMS."):
		return refused.Code
	case refused.Status == http.StatusUnauthorized:
		return codeKey
	case refused.Status == http.StatusForbidden:
		return codePermission
	case refused.Status == http.StatusTooManyRequests || refused.Status >= http.StatusInternalServerError:
		return codeBusy
	}
	return ""
}

// networkError classes what happened below HTTP: temporary, unless the caller gave up or nobody vouches for the certificate.
func networkError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return fault.Temporary(&NetworkError{codeDomain, err})
	case errors.As(err, &certificate), errors.As(err, &authority):
		return fault.Operator("FERRY-CONTROLLER-TLS", "check the address and this machine's clock, or name the authority of the certificate with ca_file",
			&NetworkError{codeTLS, err})
	case isTLS(err):
		return fault.Temporary(&NetworkError{codeTLS, err})
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return fault.Temporary(&NetworkError{codeTimeout, err})
	}
	return fault.Temporary(&NetworkError{codeBusy, err})
}

// isTLS reports whether a handshake went wrong.
func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var alert *net.OpError // that is how crypto/tls tells of an alert
	return errors.As(err, &record) || errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error") || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// refusal turns an answer that is not a success into an error with a class.
func (c *Client) refusal(response *http.Response, body []byte) error {
	e := parseRefusal(body)
	e.Status = response.StatusCode
	if e.RequestID == "" {
		e.RequestID = response.Header.Get("X-Request-Id")
	}
	e.RetryAfter = retryAfter(response.Header.Get("Retry-After"), c.now())
	switch {
	case e.Status == http.StatusUnauthorized && c.clockIsOff(response):
		return fault.Operator("FERRY-CLOCK", "set the clock of this machine, then run it again", e)
	case e.Status == http.StatusUnauthorized && c.auth.Temporary():
		return fault.Operator("FERRY-CREDENTIAL-EXPIRED", "give new credentials: temporary ones end by themselves", e)
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return fault.Operator("FERRY-CONTROLLER-KEY", "check the access key and its rights (CLOUD_SDK_AK, CLOUD_SDK_SK)", e)
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusTooManyRequests, e.Status >= 500:
		return fault.Temporary(e)
	default:
		return fault.Permanent(e)
	}
}

// clockIsOff reports whether the service's clock is too far from ours for signatures to hold.
func (c *Client) clockIsOff(response *http.Response) bool {
	date, err := http.ParseTime(response.Header.Get("Date"))
	return err == nil && c.now().Sub(date).Abs() > smsapi.MaxSkew
}

// parseRefusal reads the documented shapes of an error body, one level of nesting included, and keeps the start of any other.
func parseRefusal(body []byte) *APIError {
	if e := refusalIn(body); e != nil {
		return e
	}
	var nested map[string]json.RawMessage
	if json.Unmarshal(body, &nested) == nil && len(nested) == 1 {
		for _, inner := range nested {
			if e := refusalIn(inner); e != nil {
				return e
			}
		}
	}
	return &APIError{Message: strings.ToValidUTF8(string(body[:min(len(body), 200)]), "?")}
}

func refusalIn(body []byte) *APIError {
	var shapes struct {
		smsapi.Error
		OtherCode    any    `json:"code"` // IAM's own is a number
		OtherMessage string `json:"message"`
	}
	if json.Unmarshal(body, &shapes) != nil {
		return nil
	}
	switch {
	case shapes.Code != "":
		return &APIError{Code: shapes.Code, Message: shapes.Message, RequestID: shapes.RequestID}
	case shapes.OtherCode != nil && shapes.OtherCode != "":
		return &APIError{Code: fmt.Sprint(shapes.OtherCode), Message: shapes.OtherMessage}
	}
	return nil
}

// retryAfter reads a Retry-After header: seconds or a date. At most an hour is believed.
func retryAfter(header string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(min(seconds, 3600)) * time.Second
	} else if date, err := http.ParseTime(header); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), time.Hour)
}
