package dashstream

import (
	"bytes"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// jsonText is a value of the caller as JSON, or what is left of one that was too large.
type jsonText struct {
	json []byte
	cut  *cutting
}

// marshal is encoding/json's Marshal with a limit, after which a value is cut. The error is for a value that is no JSON,
// also one whose method panics.
func (p *Producer) marshal(v any, limit int) (jsonText, error) {
	c := capped{limit: limit}
	err := marshalTo(&c, v, false)
	if err != nil && !c.over() && bytes.Contains([]byte(err.Error()), []byte("UTF-8")) {
		c = capped{limit: limit}
		if err = marshalTo(&c, v, true); err == nil {
			p.degrade(DegradedInvalidUTF8)
		}
	}
	switch {
	case c.over():
		return jsonText{cut: p.cutStream(&c)}, nil
	case err != nil:
		return jsonText{}, err
	default:
		return jsonText{json: c.text}, nil
	}
}

func marshalTo(c *capped, v any, anyUTF8 bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic while encoding: %v", r)
		}
	}()
	return jsonv2.MarshalWrite(c, v, jsonv1.DefaultOptionsV1(), jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false),
		jsontext.AllowInvalidUTF8(anyUTF8))
}

// unserializable counts a value that is no JSON and returns what is said in its place.
func (p *Producer) unserializable(err error) string {
	p.degrade(DegradedUnserializable)
	return "[not serializable: " + clip(err.Error(), 256) + "]"
}

func quoteJSON(s string) []byte {
	out, _ := jsontext.AppendQuote(nil, s) // invalid UTF-8 becomes U+FFFD
	return out
}

func errorText(err error) (text string) {
	if err == nil {
		return ""
	}
	defer func() {
		if r := recover(); r != nil { // an error of a nil pointer, mostly
			text = fmt.Sprintf("%T", err)
		}
	}()
	return err.Error()
}
