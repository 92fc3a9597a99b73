package dashstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"unicode/utf8"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// previewBytes is how much is kept of a value that was too large. Secrets are looked for in previewWindow bytes, since one
// that is cut in the middle is not known by its form.
const (
	previewBytes  = 256
	previewWindow = 8 << 10
)

// cutting is what is left of a value that was too large.
type cutting struct {
	SHA256  string `json:"sha256"`
	Len     int    `json:"len"`
	Preview string `json:"preview"`
}

// cut replaces a value and counts that.
func (p *Producer) cut(value any) *cutting {
	p.degrade(DegradedTruncated)
	return p.cutUncounted(value)
}

func (p *Producer) cutUncounted(value any) *cutting {
	var sum [sha256.Size]byte
	var n int
	var window string
	switch v := value.(type) {
	case string:
		sum, n, window = sha256.Sum256([]byte(v)), len(v), v[:min(len(v), previewWindow)]
	case []byte:
		sum, n, window = sha256.Sum256(v), len(v), string(v[:min(len(v), previewWindow)])
	}
	return &cutting{SHA256: hex.EncodeToString(sum[:]), Len: n, Preview: p.preview(window)}
}

// cutStream is cut for JSON that was too large to be kept.
func (p *Producer) cutStream(c *capped) *cutting {
	p.degrade(DegradedTruncated)
	window := string(c.text[:min(len(c.text), previewWindow)])
	return &cutting{SHA256: hex.EncodeToString(c.hash.Sum(nil)), Len: c.n, Preview: p.preview(window)}
}

func (p *Producer) preview(window string) string {
	if p.redactor != nil {
		window = p.redactor.Text(window)
	}
	return clip(window, previewBytes)
}

// attribute is a map, so that no reader takes it for the value: that would have been a string.
func (c *cutting) attribute() *pb.AttributeValue {
	return mapValue(map[string]*pb.AttributeValue{
		"truncated": {Value: &pb.AttributeValue_BoolValue{BoolValue: true}},
		"sha256":    stringValue(c.SHA256),
		"len":       intValue(int64(c.Len)),
		"preview":   stringValue(c.Preview),
	})
}

// json is for fields that hold JSON.
func (c *cutting) json() []byte {
	out, _ := json.Marshal(struct { // strings and numbers only
		Truncated bool `json:"truncated"`
		*cutting
	}{true, c})
	return out
}

// text is for fields that people read.
func (c *cutting) text() string {
	return fmt.Sprintf("%s… [truncated: %d bytes, sha256 %s]", c.Preview, c.Len, c.SHA256)
}

// clip cuts s to at most n bytes, between runes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// capped keeps the first bytes of what is written to it, up to a limit, and the size and hash of all of it.
type capped struct {
	limit int
	text  []byte
	n     int
	hash  hash.Hash // from when the limit was passed
}

func (c *capped) over() bool { return c.n > c.limit }

func (c *capped) Write(b []byte) (int, error) {
	c.n += len(b)
	if c.hash != nil {
		c.hash.Write(b)
		return len(b), nil
	}
	if c.n <= c.limit {
		c.text = append(c.text, b...)
		return len(b), nil
	}
	c.hash = sha256.New()
	c.hash.Write(c.text)
	c.hash.Write(b)
	keep := previewWindow
	if keep > len(c.text) {
		c.text = append(c.text, b[:min(len(b), keep-len(c.text))]...)
	}
	c.text = c.text[:min(len(c.text), keep)]
	return len(b), nil
}
