package wire

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/fxamacker/cbor/v2"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// MaxMessage is the most bytes of an encoded message, 1 MiB.
const MaxMessage = 1 << 20

const maxKind = 32 // bytes of Message.Kind

// Message is a control message. Its body stays encoded until somebody who knows the kind decodes it.
type Message struct {
	_    struct{} `cbor:",toarray"`
	Kind string
	Body cbor.RawMessage // points into the payload it was decoded from
}

var encoding = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

var decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  16,
		MaxArrayElements: 64 << 10,
		MaxMapPairs:      4 << 10,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// Decode decodes the body into v, a pointer. Map keys that v has no field for are ignored.
func (m Message) Decode(v any) error {
	if err := decoding.Unmarshal(m.Body, v); err != nil {
		return violation("message %q: %v", m.Kind, err)
	}
	return nil
}

// DecodeMessage decodes the payload of a control frame. A refused message comes back as the error it carries.
func DecodeMessage(payload []byte) (Message, error) {
	var m Message
	if len(payload) > MaxMessage {
		return Message{}, violation("message of %d bytes", len(payload))
	}
	if err := decoding.Unmarshal(payload, &m); err != nil {
		return Message{}, violation("message: %v", err)
	}
	if len(m.Kind) == 0 || len(m.Kind) > maxKind {
		return Message{}, violation("message kind of %d bytes", len(m.Kind))
	}
	if m.Kind != kindRefused {
		return m, nil
	}
	var r refused
	if err := m.Decode(&r); err != nil {
		return Message{}, err
	}
	return Message{}, r.err()
}

// SendMessage sends one control message; v is anything CBOR can encode, with cbor or json field tags.
func (c *Conn) SendMessage(kind string, v any) error {
	body, err := encoding.Marshal(v)
	if err != nil {
		return fault.Permanent(fmt.Errorf("encode message %q: %w", kind, err))
	}
	payload, err := encoding.Marshal(Message{Kind: kind, Body: body})
	if err != nil {
		return fault.Permanent(fmt.Errorf("encode message %q: %w", kind, err))
	}
	return c.WriteFrame(Header{Type: TypeControl}, payload)
}

// ReadMessage returns the next frame, which must be a control message. A refused message is returned as the error it
// carries, with class, code and remedy. Use ReadFrame and DecodeMessage where other frames may come.
func (c *Conn) ReadMessage() (Message, error) {
	h, payload, err := c.ReadFrame(nil)
	if err != nil {
		return Message{}, err
	}
	var m Message
	if h.Type != TypeControl {
		err = violation("frame of type %d where a message was due", h.Type)
	} else {
		m, err = DecodeMessage(payload)
	}
	if err != nil {
		c.link.fail(err)
		return Message{}, err
	}
	return m, nil
}

// expect reads the next message into v, which must be of the given kind.
func (c *Conn) expect(kind string, v any) error {
	m, err := c.ReadMessage()
	if err != nil {
		return err
	}
	if m.Kind != kind {
		err = violation("message %q where %q was due", m.Kind, kind)
	} else {
		err = m.Decode(v)
	}
	if err != nil {
		c.link.fail(err)
	}
	return err
}

// Refuse tells the peer why this side ends the connection, and closes it. The peer's ReadMessage returns the error with
// its class, code and remedy; err must therefore hold no secret. The error returned is that of telling the peer.
func (c *Conn) Refuse(err error) error {
	sent := c.SendMessage(kindRefused, refused{
		Code: fault.CodeOf(err), Class: fault.ClassOf(err).String(), Message: err.Error(), Remedy: fault.RemedyOf(err),
	})
	_ = c.Close()
	return sent
}

const kindRefused = "refused"

type refused struct {
	Code    string `cbor:"code"`
	Class   string `cbor:"class"`
	Message string `cbor:"message"`
	Remedy  string `cbor:"remedy"`
}

// err is the error as this side sees it. The peer's words end up on a terminal: they are cut and cleaned.
func (r refused) err() error {
	err := fmt.Errorf("the peer refused: %s", clean(r.Message, 2048))
	switch r.Class {
	case fault.ClassTemporary.String():
		return fault.Temporary(err)
	case fault.ClassOperator.String():
		return fault.Operator(clean(r.Code, 64), clean(r.Remedy, 1024), err)
	default:
		return fault.Permanent(err)
	}
}

func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
