package gateway

import (
	"strings"
	"testing"
)

// A filter that is misspelt was refused as a bad "frame", with a place in the text.
func TestABadJSONFrameIsRefusedByItsPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ frame, field, message string }{
		{`{"subscribe":{"filter":{"types":["MESSAGE_TYPE_EVENT","event"]}}}`, "subscribe.filter.types[1]", `"event": want one of MESSAGE_TYPE_UNSPECIFIED, MESSAGE_TYPE_EVENT, `},
		{`{"subscribe":{"filter":{"types":[true]}}}`, "subscribe.filter.types[0]", `true: want one of MESSAGE_TYPE_UNSPECIFIED, `},
		{`{"subscribe":{"start":{"earlyest":true}}}`, "subscribe.start.earlyest", "unknown field: want earliest, latest, sinceMs, cursor"},
		{`{"subscribe":{"filter":{"thread":["a"]}}}`, "subscribe.filter.thread", "unknown field: want threads, tenants, types"},
		{`{"subscibe":{}}`, "subscibe", "unknown field: want subscribe, ack"},
		{`{"":{}}`, `""`, "unknown field: want subscribe, ack"},
		{`{"subscribe":{},"ack":{}}`, "subscribe", "given together with ack: want one of them"},
		{`{"subscribe":{"start":{"earliest":true,"sinceMs":"1"}}}`, "subscribe.start.since_ms", "given together with earliest: want one of them"},
		{`{"subscribe":{"filter":{"threads":"a"}}}`, "subscribe.filter.threads", `"a": want a list`},
		{`{"subscribe":{"filter":{"threads":[7]}}}`, "subscribe.filter.threads[0]", `7: want a string`},
		{`{"subscribe":{"start":{"earliest":"yes"}}}`, "subscribe.start.earliest", `"yes": want true or false`},
		{`{"subscribe":{"start":{"sinceMs":"yesterday"}}}`, "subscribe.start.since_ms", `"yesterday": want a whole number of 64 bits`},
		{`{"ack":{"cursor":{"partitions":[{"partition":0},{"partition":4294967296}]}}}`, "ack.cursor.partitions[1].partition", `4294967296: want a whole number of 32 bits`},
		{`{"subscribe":[]}`, "subscribe", "[]: want an object with start, filter"},
		{`{"subscribe":[[1]]}`, "subscribe", "[…]: want an object with start, filter"},
		{`{"subscribe":{"filter":{"threads":[{"a":{}}]}}}`, "subscribe.filter.threads[0]", "{…}: want a string"},
		{`"subscribe"`, "frame", `"subscribe": want an object with subscribe, ack`},
		{`{"subscribe":{}`, "frame", "not a JSON ClientFrame"},
		{`{"subscribe":{}} {}`, "frame", "not a JSON ClientFrame"},
	} {
		_, bad := decodeClientFrame(encodingJSON, []byte(tt.frame))
		if bad == nil || bad.field != tt.field || !strings.HasPrefix(bad.message, tt.message) {
			t.Errorf("%s: %v, want %s: %s", tt.frame, bad, tt.field, tt.message)
		}
	}
	for _, good := range []string{`{"subscribe":{"start":{"since_ms":1e3},"filter":null}}`, `{"subscribe":{"filter":{"types":["MESSAGE_TYPE_EVENT",2]}}}`} {
		if _, bad := decodeClientFrame(encodingJSON, []byte(good)); bad != nil {
			t.Errorf("%s: %v", good, bad)
		}
	}
}
